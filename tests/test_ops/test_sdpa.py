"""Attention without head mixing on a GPU: PyTorch's fused kernels take what the layers hand over."""

import pytest
import torch
import torch.nn.functional as F
from helpers.launches import make_cuda_inputs
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.overrides import TorchFunctionMode

from mmrest.layers.attention import EMSA, EMSAv2
from mmrest.ops import emsa

LAYERS = [(EMSA, 1, 64, 8), (EMSA, 1, 96, 8), (EMSAv2, 2, 96, 4), (EMSAv2, 8, 96, 1), (EMSAv2, 4, 64, 2)]


class Calls(TorchFunctionMode):
    """Arguments of ``scaled_dot_product_attention``."""

    def __init__(self):
        super().__init__()
        self.args = []

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is F.scaled_dot_product_attention:
            self.args.append(args)
        return func(*args, **(kwargs or {}))


@pytest.mark.parametrize('layer, heads, d, sr_ratio', LAYERS)
def test_inputs_are_of_the_kind_that_fused_kernels_take(layer, heads, d, sr_ratio):
    attention = layer(heads * d, heads, sr_ratio).bfloat16()
    seen = []
    attention.attend.register_forward_pre_hook(lambda module, args: seen.extend(args[:3]))
    attention(torch.randn(2, 16 * 24, heads * d, dtype=torch.bfloat16), (16, 24))
    assert len(seen) == 3
    for x in seen:  # the conditions of PyTorch's sdp_utils.cpp, and 16 bytes for loads
        assert x.dim() == 4 and x.stride(-1) == 1 and x.shape[-1] % 8 == 0 and x.shape[-1] <= 256
        assert [stride % 8 for stride in (*x.stride()[:-1], x.storage_offset())] == [0] * x.ndim


@pytest.mark.parametrize('impl', ['auto', 'triton'])
def test_inputs_are_handed_over_as_they_are(impl):
    with FakeTensorMode():
        q, k, v, _ = make_cuda_inputs(2, 4, 60, 30, 64, torch.bfloat16)
        with Calls() as calls:
            out = emsa(q, k, v, impl=impl)
    assert out.shape == q.shape
    ((*given,),) = calls.args
    assert [id(x) for x in given] == [id(x) for x in (q, k, v)]


@pytest.mark.skipif(not torch.cuda.is_available(), reason='there is no GPU')
@pytest.mark.parametrize('backend', [SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION])
@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('layer, heads, d, sr_ratio', LAYERS)
def test_fused_kernels_run_on_a_gpu(layer, heads, d, sr_ratio, dtype, backend):
    attention = layer(heads * d, heads, sr_ratio, head_mixing=False).cuda()
    x = torch.randn(2, 16 * 24, heads * d, device='cuda', requires_grad=True)
    with torch.autocast('cuda', dtype=dtype), sdpa_kernel(backend):  # an error where the kernel does not take them
        attention(x, (16, 24)).float().sum().backward()
    assert x.grad.isfinite().all()
