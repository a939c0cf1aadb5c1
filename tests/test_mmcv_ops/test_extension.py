"""All operators beside values stored from compiled mmcv 2.1.0, and those that are missing."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from mmcv_cases import STORED, boxes, cases, generator, with_grads

from mmrest.mmcv_ops import UnsupportedOpError, extension

# torchvision sums products in another order, and NumPy has its own exponential; all else is equal bit for bit.
ROUNDED = ('deform', 'modulated', 'soft_nms gaussian', 'soft_nms ties gaussian')


@pytest.mark.matrix
def test_operators_equal_the_stored_values_of_compiled_mmcv(stand_in):
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


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16, torch.float64])
def test_operators_in_other_dtypes_agree_with_float(stand_in, dtype):
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


def test_operators_of_empty_inputs_give_empty_outputs(stand_in):
    for function, shape in ((stand_in.roi_align, (0, 2, 3, 3)), (stand_in.roi_pool, (0, 2, 3, 3))):
        x = torch.randn(1, 2, 5, 5, requires_grad=True)
        out = function(x, torch.zeros(0, 5), 3, 1.0)
        assert out.shape == shape
        out.sum().backward()
        assert not x.grad.any()
    assert stand_in.nms(torch.zeros(0, 4), torch.zeros(0), 0.5)[1].tolist() == []
    assert stand_in.soft_nms(torch.zeros(0, 4), torch.zeros(0))[1].tolist() == []
    assert stand_in.nms_match(torch.zeros(0, 5), 0.5) == []


def test_missing_operator_raises_when_called(stand_in):
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
