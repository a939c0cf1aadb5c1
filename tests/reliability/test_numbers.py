"""Inputs at the edge of what numbers can hold: no NaN, in any dtype, forward, backward and after a step."""

import copy
import itertools
import math

import pytest
import torch
import torch.nn.functional as F
from helpers.compare import find_non_finite, find_non_finite_grads
from torch import nn
from torch.utils._python_dispatch import TorchDispatchMode

from mmrest import ResT, ResTv2
from mmrest.ops.linear import fast_linear
from mmrest.ops.workarounds import call_conv

DTYPES = [torch.float32, torch.bfloat16, torch.float16]


def extreme(kind: str, dtype: torch.dtype) -> torch.Tensor:
    """An image, (1, 3, H, W)."""
    generator = torch.Generator().manual_seed(0)
    size = {'one pixel': (1, 1), 'one row': (1, 97), 'one column': (97, 1)}.get(kind, (48, 65))
    noise = torch.randn(1, 3, *size, generator=generator)
    image = {
        'zeros': torch.zeros_like(noise),
        'constant': torch.full_like(noise, 2.5),
        # A normalised image stays below 3. float16 ends at 65504; the others go on to 3e38.
        'huge': noise * (1e3 if dtype == torch.float16 else 1e15),
        'tiny': noise * (1e-7 if dtype == torch.float16 else 1e-30),
        'one bright pixel': torch.where(noise == noise.max(), 100.0, 0.0),
    }.get(kind, noise)
    return image.to(dtype)


KINDS = ['zeros', 'constant', 'huge', 'tiny', 'one bright pixel', 'one pixel', 'one row', 'one column']


def train(model: nn.Module, x: torch.Tensor, steps: int, autocast: torch.dtype | None = None) -> list[float]:
    """Losses of some steps of plain SGD, as a pyramid's user would take them."""
    optimizer = torch.optim.SGD(model.parameters(), lr=1e-3)
    losses = []
    for _ in range(steps):
        with torch.autocast('cpu', dtype=autocast, enabled=autocast is not None):
            outs = model(x)
        loss = sum((out.float() - 1).square().mean() for out in outs)
        optimizer.zero_grad()
        loss.backward()
        assert find_non_finite_grads(model) == []
        optimizer.step()
        losses.append(loss.item())
    assert find_non_finite(dict(model.named_parameters())) == []
    return losses


@pytest.mark.parametrize('cls', [ResT, ResTv2])
@pytest.mark.parametrize('dtype', DTYPES)
@pytest.mark.parametrize('kind', KINDS)
def test_backbone_extreme_image_stays_finite(tiny, cls, dtype, kind):
    x = extreme(kind, dtype)
    # In a batch with an ordinary image: alone, and with biases near zero, an image of zeros makes norms divide by next
    # to nothing stage after stage, and true gradients, those of the formula in float64, grow to 1e30.
    batch = torch.cat([x, torch.randn(x.shape, generator=torch.Generator().manual_seed(1)).to(dtype)])
    losses = train(cls(tiny).to(dtype), batch, 3) + train(cls(tiny, norm_eval=True).to(dtype), x, 1)
    if dtype != torch.float32:
        losses += train(cls(tiny), batch.float(), 2, autocast=dtype)
    with torch.no_grad():
        outs = cls(tiny).to(dtype).eval()(x)
    assert [loss for loss in losses if not math.isfinite(loss)] == []
    assert find_non_finite(outs) == []


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('autocast', [False, True])
def test_call_conv_map_smaller_than_kernel_gives_right_gradients(dtype, autocast):
    # Weights that only ever meet padding have the gradient 0, not what was in memory.
    for (in_channels, channels, kernel, stride, groups), size in itertools.product(
        [(3, 32, 3, 2, 1), (16, 24, 3, 2, 1), (16, 16, 9, 8, 16), (16, 16, 5, 4, 16), (3, 64, 7, 2, 1)],
        [(1, 1), (5, 1), (1, 5), (2, 2), (9, 2)],
    ):
        conv = nn.Conv2d(in_channels, channels, kernel, stride, padding=kernel // 2, groups=groups)
        conv = conv if autocast else conv.to(dtype)
        x = torch.randn(1, in_channels, *size).contiguous(memory_format=torch.channels_last)
        exact = copy.deepcopy(conv).double()
        for _ in range(4):
            [torch.full((conv.weight.numel() // 2,), float('nan')) for _ in range(20)]  # memory to be used again
            conv.zero_grad()
            with torch.autocast('cpu', dtype=dtype, enabled=autocast):
                out = call_conv(conv, x if autocast else x.to(dtype))
            assert out.dtype == dtype
            out.sum().backward()
            exact.zero_grad()
            exact(x.to(dtype).double()).sum().backward()
            torch.testing.assert_close(conv.weight.grad.double(), exact.weight.grad, rtol=0.05, atol=0.05)


class Convolutions(TorchDispatchMode):
    """Notes the dtypes in which convolutions are computed."""

    def __init__(self):
        super().__init__()
        self.dtypes = set()

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.convolution.default:
            self.dtypes.add(args[0].dtype)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('autocast', [False, True])
@pytest.mark.parametrize('grad', [False, True])
@pytest.mark.parametrize('size', [(9, 2), (2, 9), (1, 1), (40, 1), (3, 2)])
def test_call_conv_map_smaller_than_kernel_gives_right_outputs(dtype, autocast, grad, size):
    """Some processors leave them unwritten in half precision; the float32 ones rounded once are right on all."""
    conv = nn.Conv2d(16, 24, 3, stride=2, padding=1)
    x = torch.randn(2, 16, *size)
    if not autocast:
        conv, x = conv.to(dtype), x.to(dtype)
    expected = F.conv2d(x.float(), conv.weight.float(), conv.bias.float(), 2, 1).to(dtype)
    with torch.set_grad_enabled(grad), torch.autocast('cpu', dtype=dtype, enabled=autocast), Convolutions() as seen:
        out = call_conv(conv.train(grad), x)
    assert seen.dtypes == {torch.float32}
    torch.testing.assert_close(out, expected, rtol=0, atol=0)


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
def test_fast_linear_few_rows_equals_float64(dtype):
    for rows in (1, 2, 3, 5, 17):
        layer = torch.nn.Linear(64, 40).to(dtype)
        x = torch.randn(1, rows, 64).to(dtype)
        with torch.no_grad():
            out = fast_linear(x, layer.weight, layer.bias)
        exact = F.linear(x.double(), layer.weight.double(), layer.bias.double())
        torch.testing.assert_close(out.double(), exact, rtol=0.02, atol=0.02)


@pytest.mark.parametrize('cls', [ResT, ResTv2])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('impl', ['reference', 'direct', 'chunked'])
def test_backbone_half_precision_accumulates_in_float32(tiny, cls, dtype, impl):
    # Softmax over many keys, InstanceNorm over whole maps, LayerNorm over channels. Sums of thousands of numbers in
    # half precision would be off by percents; rounding of each stored value is a few thousandths.
    torch.manual_seed(3)
    exact = cls(tiny, attn_impl='reference').double().eval()
    half = cls(tiny, attn_impl=impl).eval()
    half.load_state_dict(exact.state_dict())
    x = torch.randn(1, 3, 128, 192)
    with torch.no_grad():
        outs = half.to(dtype)(x.to(dtype))
        expected = exact(x.to(dtype).double())
    limit = 10 * torch.finfo(dtype).eps
    for out, other in zip(outs, expected):
        assert (out.double() - other).square().mean().sqrt() < limit * other.std()


@pytest.mark.reliability
@pytest.mark.parametrize('cls', [ResT, ResTv2])
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16])
def test_backbone_4k_image_gives_finite_gradients(tiny, cls, dtype):
    model = cls(tiny, with_cp=True, ffn_recompute=True).to(dtype)
    outs = model(torch.randn(1, 3, 2160, 3840, generator=torch.Generator().manual_seed(0)).to(dtype))
    sum(out.float().square().mean() for out in outs).backward()
    assert [tuple(out.shape[2:]) for out in outs] == [(540, 960), (270, 480), (135, 240), (68, 120)]
    assert find_non_finite(outs) == []
    assert find_non_finite_grads(model) == []
