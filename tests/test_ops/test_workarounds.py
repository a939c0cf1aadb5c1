"""Layers called around faults of torch; maps smaller than a kernel are in tests/reliability/test_numbers.py."""

import pytest
import torch
from torch import nn

from mmrest.ops.workarounds import call_batch_norm, call_conv


def reduce(conv, x, call, autocast=None):
    """Output of a convolution and the gradients of its input, weight and bias, in float64."""
    tensors = [x.detach().requires_grad_(), *conv.parameters()]
    with torch.autocast('cpu', dtype=autocast, enabled=autocast is not None):
        out = call(tensors[0])
    weights = torch.linspace(-1, 1, out.numel()).view(out.shape)
    grads = torch.autograd.grad((out.double() * weights).sum(), tensors)
    return [t.double() for t in (out, *grads)]


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize('kernel, stride', [(9, 8), (5, 4), (3, 2)])
def test_reduction_in_half_precision_is_as_exact_as_torch(dtype, autocast, kernel, stride):
    conv = nn.Conv2d(16, 16, kernel, stride, kernel // 2, groups=16).to(dtype)
    x = torch.randn(2, 16, 40, 56).to(dtype)
    wide = nn.Conv2d(16, 16, kernel, stride, kernel // 2, groups=16).double()
    wide.load_state_dict({key: value.double() for key, value in conv.state_dict().items()})
    exact = reduce(wide, x.double(), wide)
    conv, x = (conv.float(), x.float()) if autocast else (conv, x)
    ours = reduce(conv, x, lambda x: call_conv(conv, x), dtype if autocast else None)
    plain = reduce(conv, x, conv, dtype if autocast else None)
    for a, b, e in zip(ours, plain, exact):
        assert (a - e).norm() <= 2 * (b - e).norm()


@pytest.mark.parametrize(
    'dtype, grad, groups, stride, expected',
    [
        (torch.bfloat16, True, 16, 2, torch.float32),
        (torch.bfloat16, False, 16, 2, torch.bfloat16),  # fast in inference
        (torch.float16, False, 16, 2, torch.float32),
        (torch.bfloat16, True, 16, 1, torch.bfloat16),
        (torch.bfloat16, True, 1, 2, torch.bfloat16),
        (torch.float32, True, 16, 2, torch.float32),
    ],
)
def test_only_slow_convolutions_are_computed_in_float32(monkeypatch, dtype, grad, groups, stride, expected):
    kinds = []
    conv2d = torch.nn.functional.conv2d

    def record(x, *args):
        kinds.append(x.dtype)
        return conv2d(x, *args)

    monkeypatch.setattr(torch.nn.functional, 'conv2d', record)
    conv = nn.Conv2d(16, 16, 3, stride, 1, groups=groups).to(dtype)
    with torch.set_grad_enabled(grad):
        out = call_conv(conv, torch.randn(1, 16, 24, 24).to(dtype))
    assert kinds == [expected] and out.dtype == dtype


def test_batch_norm_of_a_single_value_uses_running_statistics():
    norm = nn.BatchNorm2d(3)
    norm.running_mean += 1
    x = torch.rand(1, 3, 1, 1, requires_grad=True)
    torch.testing.assert_close(call_batch_norm(norm, x), (x - 1) / (1 + norm.eps) ** 0.5)
    assert norm.num_batches_tracked == 0
    with pytest.raises(ValueError, match='more than 1 value'):
        nn.BatchNorm2d(3)(x)
    more = x.expand(2, 3, 4, 4)
    assert torch.equal(call_batch_norm(nn.BatchNorm2d(3), more), nn.BatchNorm2d(3)(more))
