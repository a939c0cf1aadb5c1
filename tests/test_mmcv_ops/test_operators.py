"""The operators beside values stored from compiled mmcv 2.1.0, or beside plain formulas where it has none on CPUs."""

from __future__ import annotations

import importlib

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from mmrest.mmcv_ops import UnsupportedOpError, extension

pytest.importorskip('torchvision')
ops = pytest.importorskip('mmcv.ops')
from mmcv_cases import STORED, boxes, cases, generator, with_grads  # noqa: E402

# torchvision sums products in another order, and NumPy has its own exponential; all else is equal bit for bit.
ROUNDED = ('deform', 'modulated', 'soft_nms gaussian', 'soft_nms ties gaussian')


@pytest.fixture
def stand_in(monkeypatch):
    """Let mmcv's Python files call our operators, whatever they call in this environment."""
    for name in (
        'nms',
        'bbox',
        'roi_align',
        'roi_pool',
        'focal_loss',
        'deform_conv',
        'modulated_deform_conv',
        'multi_scale_deform_attn',
        'masked_conv',
        'carafe',
        'psa_mask',
        'border_align',
    ):
        monkeypatch.setattr(importlib.import_module(f'mmcv.ops.{name}'), 'ext_module', extension)
    return ops


@pytest.mark.matrix
def test_values_of_compiled_mmcv(stand_in):
    stored = dict(np.load(STORED))
    assert str(stored.pop('mmcv')) == '2.1.0' and stored.pop('torch')
    for name, values in cases(stand_in):
        for i, value in enumerate(values):
            other = torch.from_numpy(stored.pop(f'{name}/{i}'))
            if name.startswith(ROUNDED):
                scale = float(other.abs().max()) if other.numel() else 1
                torch.testing.assert_close(value, other, rtol=0, atol=2e-6 * scale, msg=name)
            else:
                assert value.dtype == other.dtype and torch.equal(value.nan_to_num(1e9), other.nan_to_num(1e9)), name
    assert not stored


def test_equal_scores_need_mmcvs_order():
    """torchvision alone keeps other boxes, which is why nms sorts by itself."""
    import torchvision

    b, _ = boxes(300)
    scores = torch.ones(300)
    ours = extension.nms(b, scores, 0.5, 0)
    assert not torch.equal(ours, torchvision.ops.nms(b, scores, 0.5))


@pytest.mark.parametrize('weighted', [False, True])
def test_sigmoid_focal_loss(stand_in, weighted):
    x = torch.cat([torch.randn(40, 6, generator=generator(0)) * 4, torch.full((1, 6), 60.0), torch.full((1, 6), -60.0)])
    target = torch.arange(42) % 7
    weight = torch.rand(6, generator=generator(1)) if weighted else None

    def plain(x):
        p, hot = x.sigmoid(), F.one_hot(target, 7)[:, :6].bool()
        loss = torch.where(hot, -0.25 * (1 - p) ** 2 * F.logsigmoid(x), -0.75 * p**2 * F.logsigmoid(-x))
        return loss * torch.cat([weight, torch.ones(1)])[target][:, None] if weighted else loss

    ours = with_grads(lambda x: stand_in.sigmoid_focal_loss(x, target, 2.0, 0.25, weight, 'none'), x)
    for value, exact in zip(ours, with_grads(plain, x.double())):
        torch.testing.assert_close(value.double(), exact, rtol=1e-5, atol=1e-6)
    for dtype in (torch.bfloat16, torch.float16):
        assert stand_in.sigmoid_focal_loss(x.to(dtype), target, 2.0, 0.25, None, 'mean').isfinite()


def test_softmax_focal_loss(stand_in):
    x = torch.randn(30, 5, generator=generator(0))
    target = torch.arange(30) % 5

    def plain(x):
        p = x.softmax(1).gather(1, target[:, None])[:, 0]
        return -0.25 * (1 - p) ** 2 * p.log()

    def ours(x):
        return stand_in.softmax_focal_loss(x, target, 2.0, 0.25, None, 'none')

    grad = torch.ones(30)
    leaf = x.clone().requires_grad_()
    plain(leaf).backward(grad)
    torch.testing.assert_close(ours(x), plain(x))
    probabilities, buff, found = x.softmax(1), torch.zeros(30), torch.zeros(30, 5)
    extension.softmax_focal_loss_backward(probabilities, target, torch.zeros(0), buff, found, gamma=2.0, alpha=0.25)
    torch.testing.assert_close(found, leaf.grad)


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16])
def test_deformable_attention_equals_the_formula_of_mmcv(dtype):
    from mmcv.ops.multi_scale_deform_attn import (
        MultiScaleDeformableAttnFunction,
        multi_scale_deformable_attn_pytorch,
    )

    shapes = torch.tensor([[5, 6], [3, 4], [1, 1]])
    starts = torch.tensor([0, 30, 42])
    value = torch.randn(2, 43, 4, 8, generator=generator(0), dtype=torch.float64)
    # Some beside the maps.
    locations = torch.rand(2, 10, 4, 3, 2, 2, generator=generator(1), dtype=torch.float64) * 1.6 - 0.3
    weights = torch.rand(2, 10, 4, 3, 2, generator=generator(2), dtype=torch.float64)
    inputs = [tensor.to(dtype) for tensor in (value, locations, weights)]

    def ours(v, place, w):
        import mmcv.ops.multi_scale_deform_attn as module

        module_ext, module.ext_module = module.ext_module, extension
        try:
            return MultiScaleDeformableAttnFunction.apply(v, shapes, starts, place, w, 64)
        finally:
            module.ext_module = module_ext

    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    output = ours(*leaves)
    grads = [torch.zeros_like(tensor) for tensor in inputs]
    grad = torch.randn(output.shape, generator=generator(9)).to(dtype)
    extension.ms_deform_attn_backward(inputs[0], shapes, starts, inputs[1], inputs[2], grad, *grads, im2col_step=64)
    doubles = [tensor.double().requires_grad_() for tensor in inputs]
    expected = multi_scale_deformable_attn_pytorch(doubles[0], shapes, *doubles[1:])
    exact = [expected.detach(), *torch.autograd.grad(expected, doubles, grad.double())]
    limit = 4 * torch.finfo(dtype).eps
    for found, other in zip([output.detach(), *grads], exact):
        assert found.dtype == dtype
        assert (found.double() - other).abs().max() <= limit * max(1, float(other.abs().max()))


def test_masked_convolution_is_zero_outside_of_the_mask(stand_in):
    conv = stand_in.MaskedConv2d(4, 6, 3, padding=1).eval()
    x, mask = torch.randn(1, 4, 9, 8, generator=generator(1)), torch.rand(1, 9, 8, generator=generator(2)) > 0.5
    expected = F.conv2d(x, conv.weight, conv.bias, padding=1) * mask
    with torch.no_grad():
        torch.testing.assert_close(conv(x, mask), expected, rtol=1e-4, atol=1e-5)
        assert not conv(x, torch.zeros_like(mask)).any()


def test_carafe_equals_the_plain_formula(stand_in):
    x = torch.randn(2, 6, 4, 5, generator=generator(0), dtype=torch.float64)
    masks = torch.rand(2, 2 * 9, 8, 10, generator=generator(1), dtype=torch.float64)

    def plain(x, masks):
        patches = F.unfold(x, 3, padding=1).view(2, 2, 3, 9, 4, 5)
        patches = patches.repeat_interleave(2, 4).repeat_interleave(2, 5)
        return (patches * masks.view(2, 2, 1, 9, 8, 10)).sum(3).view(2, 6, 8, 10)

    ours = with_grads(lambda x, masks: stand_in.carafe(x, masks, 3, 2, 2), x, masks)
    for found, other in zip(ours, with_grads(plain, x, masks)):
        torch.testing.assert_close(found, other)


def test_roi_pool_bins_are_not_rounded_to_pixels(stand_in):
    """Each bin is the largest value between its edges, which mmcv does not round to pixels first."""
    x = torch.randn(2, 3, 8, 9, generator=generator(0))
    rois = torch.tensor([[0, 0.6, 1.2, 5.4, 6.7], [1, 2, 2, 2, 2], [1, -9, -9, -5, -5], [0, 5, 5, 3, 3]])
    out, grad = with_grads(lambda x: stand_in.roi_pool(x, rois, (2, 2), 1.0), x)
    assert torch.equal(out[0, :, 0, 0], x[0, :, 1:5, 0:4].flatten(1).max(1)[0])  # rows 1.2 to 4.45, columns 0.6 to 3.5
    assert torch.equal(out[1], x[1, :, 2:3, 2:3].expand(3, 2, 2))
    assert not out[2:].any()
    expected = torch.randn(out.shape, generator=generator(9))
    torch.testing.assert_close(grad.sum(), expected[:2].sum())


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
def test_roi_align_other_dtypes_equal_float64(stand_in, dtype):
    x = torch.randn(1, 4, 8, 8, generator=generator(0))
    rois = torch.tensor([[0, 1.0, 1.0, 6.0, 7.0], [0, 0.0, 0.0, 3.0, 3.0]])
    wide = with_grads(lambda x: stand_in.roi_align(x, rois.to(x.dtype), 3, 1.0, 2), x.to(dtype).double())
    # Under autocast, too: it must not reach inside.
    with torch.autocast('cpu', dtype=torch.bfloat16):
        narrow = with_grads(lambda x: stand_in.roi_align(x, rois.to(x.dtype), 3, 1.0, 2), x.to(dtype))
    for found, other in zip(narrow, wide):
        assert found.dtype == dtype
        torch.testing.assert_close(found.double(), other, rtol=0.02, atol=0.03)
    b, s = boxes(50)
    kept = stand_in.nms(b.to(dtype), s.to(dtype), 0.5)[1]
    assert torch.equal(kept, stand_in.nms(b.to(dtype).float(), s.to(dtype).float(), 0.5)[1])


def test_places_are_exact_in_half_precision(stand_in):
    """Of 3000 boxes, and far from the origin of a map."""
    corner = torch.cartesian_prod(torch.arange(60.0), torch.arange(50.0)) * 4
    order = torch.randperm(3000, generator=generator(0))
    kept = extension.nms(torch.cat([corner, corner + 2], 1).half(), order.float(), 0.5, 0)
    assert torch.equal(kept, order.argsort(descending=True))
    x = (torch.arange(4000) % 16).expand(1, 1, 2, 4000).half()
    rois = torch.tensor([[0, 3001, 0.5, 3002, 1.5]])  # 3001 is no number in half precision
    assert stand_in.roi_align(x, rois, 1, 1.0, 1).item() == 3001 % 16


def test_roi_operators_without_boxes_return_empty_maps(stand_in):
    for function, shape in ((stand_in.roi_align, (0, 2, 3, 3)), (stand_in.roi_pool, (0, 2, 3, 3))):
        x = torch.randn(1, 2, 5, 5, requires_grad=True)
        out = function(x, torch.zeros(0, 5), 3, 1.0)
        assert out.shape == shape
        out.sum().backward()
        assert not x.grad.any()
    assert stand_in.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)[1].tolist() == []
    assert stand_in.soft_nms(torch.zeros(0, 4), torch.zeros(0))[1].tolist() == []
    assert stand_in.nms_match(torch.zeros(0, 5), 0.5) == []


def test_what_is_missing_is_one_error_at_the_call(stand_in):
    with pytest.raises(UnsupportedOpError, match='border_align_forward exists only in .*docs/installation.md'):
        stand_in.border_align(torch.zeros(1, 4, 3, 3), torch.zeros(1, 9, 4), 2)
    with pytest.raises(UnsupportedOpError, match="pool_mode='max'"):
        stand_in.roi_align(torch.zeros(1, 1, 3, 3), torch.zeros(1, 5), 2, 1.0, 0, 'max')
    with pytest.raises(ValueError, match='too few'):
        stand_in.modulated_deform_conv2d(
            torch.zeros(1, 4, 6, 6),
            torch.zeros(1, 18, 3, 3),
            torch.zeros(1, 9, 3, 3),
            torch.zeros(6, 4, 3, 3),
            None,
            1,
            1,
            1,
            1,
            1,
        )
    assert not hasattr(extension, '__path__')
