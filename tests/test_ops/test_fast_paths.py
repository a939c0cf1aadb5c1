"""Shortcuts of inference."""
import pytest
import torch
import torch.nn.functional as F
from torch import nn

from mmrest.ops import conv_norm


@pytest.mark.parametrize('dtype, folded', [(torch.float64, True), (torch.float32, True), (torch.bfloat16, False)])
@pytest.mark.parametrize('bias', [False, True])
def test_batch_norm_is_folded_in_inference_only(dtype, folded, bias, monkeypatch):
    conv, norm = nn.Conv2d(3, 8, 3, stride=2, padding=1, bias=bias), nn.BatchNorm2d(8)
    for x in (norm.weight.data, norm.bias.data, norm.running_mean):
        nn.init.normal_(x)
    norm.running_var.uniform_(0.5, 2)
    conv, norm, x = conv.to(dtype), norm.to(dtype).eval(), torch.randn(2, 3, 32, 32, dtype=dtype)
    expected = norm(conv(x))
    called = []
    batch_norm = F.batch_norm
    monkeypatch.setattr(F, 'batch_norm', lambda *args: called.append(1) or batch_norm(*args))
    with torch.no_grad():
        out = conv_norm(conv, norm, x)
        assert len(called) == (not folded)
        error = (out.double() - expected.double()).abs().max() / expected.double().std()
        assert error < (1e-13 if dtype == torch.float64 else 1e-5)
        calls = len(called)
        conv_norm(conv, norm, x[..., :1, :1])  # fewer values than weights
        conv_norm(conv, norm.train(), x)
        norm.eval()
        with torch.autocast('cpu', dtype=torch.bfloat16):
            conv_norm(conv, norm, x)
        handle = norm.register_forward_hook(lambda *_: None)  # somebody wants to see what it gives
        conv_norm(conv, norm, x)
        handle.remove()
        seen = calls + 4 - (dtype == torch.float64)  # autocast leaves float64 alone
        assert len(called) == seen
    conv_norm(conv, norm, x).sum().backward()  # gradients are on
    assert len(called) == seen + 1
    assert all(p.grad is not None for module in (conv, norm) for p in module.parameters())
