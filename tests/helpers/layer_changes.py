"""Change layers of a backbone and of the plain formula alike, and compare."""

from functools import partial

import torch
from torch import nn

from mmrest import ResT, ResTv2, ResTv2Ablation
from mmrest.layers import HeadAttention
from mmrest.ops.attention import instance_norm

BACKBONES = [ResT, ResTv2, partial(ResTv2Ablation, head_mixing=True, style='cwin', window_sizes=(4, 4, 4, 4))]
OPTIONS = [{}, dict(attn_impl='chunked', ffn_recompute=True, with_cp=True)]
PRODUCTS = (nn.Linear, nn.Conv2d)
STOCK = (nn.Linear, nn.Conv2d, nn.BatchNorm2d, nn.LayerNorm)
SIZE = (40, 36)


class PlainAttention(nn.Module):
    """The formula of EMSA, which calls every layer."""

    def forward(self, q, k, v, mix=None):
        maps = (q @ k.transpose(-2, -1)) * q.shape[-1] ** -0.5
        return (maps.softmax(-1) if mix is None else instance_norm(mix(maps).softmax(-1))) @ v


def random_tensor(*shape):
    return torch.randn(*shape, dtype=torch.float64)


def build_pair(backbone, tiny, **options):
    """Build the plain formula and a model with the options, with the same weights, in float64."""
    plain, model = backbone(tiny).double(), backbone(tiny, **options).double()
    for name, value in plain.state_dict().items():
        if name.endswith(('running_mean', 'bias')) or value.ndim and not value.any():  # weight_norm takes no zeros
            value.normal_()
    model.load_state_dict(plain.state_dict())
    for module in list(plain.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, HeadAttention):
                setattr(module, name, PlainAttention())
    return plain, model


def layers(model, kinds=STOCK):
    return {name: module for name, module in model.named_modules() if type(module) in kinds}


def check_same_steps(backbone, tiny, change, rtol=1e-9, **options):
    """Check that two training steps and inference agree after the same change to both models."""
    models, x, steps = build_pair(backbone, tiny, **options), random_tensor(2, 3, *SIZE), []
    for model in models:
        torch.manual_seed(0)
        change(model.train())
        optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
        found = []
        for _ in range(2):
            optimizer.zero_grad()
            outs = model(x)
            sum((out - 1).square().mean() for out in outs).backward()
            found += [out.detach() for out in outs]
            found += [p.grad.clone() for p in model.parameters() if p.grad is not None]
            assert [name for name, p in model.named_parameters() if p.requires_grad and p.grad is None] == []
            optimizer.step()
        model.eval()
        with torch.set_grad_enabled(model is models[0]):  # with gradients, nothing is rearranged
            found += [out.detach() for out in model(x)]
        steps.append(found)
    assert len(steps[0]) == len(steps[1])
    scale = max(value.abs().max() for value in steps[0])
    for own, expected in zip(steps[1], steps[0]):
        torch.testing.assert_close(own, expected, rtol=rtol, atol=rtol * scale.item())
