"""Deformable attention beside the formula."""

from __future__ import annotations

import pytest
import torch
from mmcv_cases import generator

from mmrest.mmcv_ops import extension

pytest.importorskip('mmcv.ops')
pytest.importorskip('torchvision')


@pytest.mark.parametrize('dtype', [torch.float64, torch.float32, torch.bfloat16])
def test_deformable_attention_equals_the_formula(dtype):
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
        atol = limit * max(1, float(other.abs().max()))
        torch.testing.assert_close(found.double(), other, rtol=0, atol=atol)
