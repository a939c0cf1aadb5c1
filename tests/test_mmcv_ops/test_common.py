"""Precision and autocast of the operators."""

import pytest
import torch

from mmrest.mmcv_ops.common import as_compiled, upcast


@pytest.mark.parametrize(
    'dtype, expected',
    [
        (torch.bfloat16, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float32),
        (torch.float64, torch.float64),
    ],
)
def test_upcast_on_cpu_makes_half_precision_float32(dtype, expected):
    x = torch.rand(3).to(dtype)
    assert upcast(x).dtype == expected
    torch.testing.assert_close(upcast(x).to(dtype), x, rtol=0, atol=0)


def test_as_compiled_keeps_gradients_and_autocast_outside():
    product = as_compiled(lambda x, *, y: x @ y)
    x = torch.rand(2, 2, requires_grad=True)
    with torch.autocast('cpu', dtype=torch.bfloat16):
        assert (x @ x).dtype == torch.bfloat16
        out = product(x, y=x)
    assert out.dtype == torch.float32 and not out.requires_grad
