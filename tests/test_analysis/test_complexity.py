"""Counted multiply-accumulates against figures derived by hand."""

import pytest
import torch
from torch import nn

from mmrest import ResT, ResTAblation, ResTv2
from mmrest.analysis import count_attention_macs
from mmrest.analysis.complexity import Cost, add_up, count_backbone, count_module

SMALL = dict(embed_dims=(8, 16), depths=(1, 2), num_heads=(1, 2), sr_ratios=(8, 4))
# ResTv2-Tiny at 800 x 1280: per stage the map in tokens, channels, blocks, and side of a window.
STAGES = [((200, 320), 96, 1, 64), ((100, 160), 192, 2, 32), ((50, 80), 384, 6, 16), ((25, 40), 768, 2, 8)]


def spans(size, side, padded):
    """Return the lengths that a side of the map is cut into."""
    whole, rest = divmod(size, side)
    return [side] * whole + ([side if padded else rest] if rest else [])


def derive(style, padded=False):
    """Sum 2 n n' C over blocks and windows; the reduction leaves an eighth of a window's side in any stage."""
    macs = 0
    for (height, width), channels, depth, side in STAGES:
        cost = {'global': 2 * height * width * 25 * 40 * channels, 'win': 0}
        for h in spans(height, side, padded):
            for w in spans(width, side, padded):
                keys = -(-h * 8 // side) * -(-w * 8 // side)
                cost['win'] += 2 * h * w * keys * channels
        ends_globally = depth if style == 'global' else int(style == 'hwin')
        macs += ends_globally * cost['global'] + (depth - ends_globally) * cost['win']
    return macs


@pytest.mark.parametrize(
    'style, giga, giga_padded', [('global', 46.1, 46.1), ('win', 2.8, 3.8), ('cwin', 2.8, 3.8), ('hwin', 24.5, 24.9)]
)
def test_attention_macs_of_restv2_styles_equal_the_derivation(style, giga, giga_padded):
    counted = count_attention_macs(ResTv2('tiny', style=style), (800, 1280))
    assert counted == derive(style)
    assert counted / 1e9 == pytest.approx(giga, abs=0.05)
    # What windows padded to their full size would cost.
    assert derive(style, padded=True) / 1e9 == pytest.approx(giga_padded, abs=0.05)


def test_cwin_convolutions_cost_as_documented():
    with torch.device('meta'):
        model = ResTv2('tiny', style='cwin')
    tokens = [200 * 320, 100 * 160, 50 * 80, 25 * 40]
    macs = sum(getattr(model, f'stage{i + 1}')[-1].conv.weight.numel() * n for i, n in enumerate(tokens))
    assert macs / 1e9 == pytest.approx(0.56, abs=0.005)


def test_attention_macs_of_rest_equal_the_formula():
    small = dict(embed_dims=(8,), depths=(2,), num_heads=(2,), sr_ratios=(2,))
    assert count_attention_macs(ResT(small, out_indices=0), (32, 48)) == 2 * 2 * (8 * 12) * (4 * 6) * 8


def test_attention_macs_of_emsa_and_msa_equal_the_formula():
    """ResT-Lite at 224: 2 n n' C in each block, with n' = n in plain attention and 49 in EMSA."""
    stages = [(56 * 56, 64), (28 * 28, 128), (14 * 14, 256), (7 * 7, 512)]
    emsa, msa = (count_attention_macs(ResTAblation('lite', attention=name), (224, 224)) for name in ('emsa', 'msa'))
    assert emsa == sum(2 * 2 * n * 49 * channels for n, channels in stages)
    assert msa == sum(2 * 2 * n * n * channels for n, channels in stages)


@pytest.mark.parametrize(
    'backbone, kwargs',
    [
        (ResT, {}),
        (ResTAblation, dict(attention='msa')),
        (ResTAblation, dict(head_interaction='conv')),
        (ResT, dict(attn_impl='chunked')),
        (ResTv2, {}),
        (ResTv2, dict(style='win', window_sizes=(8, 4))),
    ],
)
def test_stage_costs_add_up_to_those_of_the_layers(backbone, kwargs):
    """Layers are counted by hooks and attention by the formula, without the counter of torch."""
    model = backbone(SMALL, out_indices=(0, 1), **kwargs).eval()
    layers = 0

    def add(module, inputs, output):
        nonlocal layers
        layers += output.numel() * (module.in_features if isinstance(module, nn.Linear) else module.weight[0].numel())

    handles = [
        module.register_forward_hook(add) for module in model.modules() if type(module) in (nn.Linear, nn.Conv2d)
    ]
    with torch.no_grad():
        model(torch.rand(1, 3, 64, 96))
    for handle in handles:
        handle.remove()
    costs, outs = count_backbone(model, (64, 96))
    assert [cost.name for cost in costs] == ['backbone, stage 1', 'backbone, stage 2']
    assert add_up(costs).params == sum(p.numel() for p in model.parameters())
    assert add_up(costs).layers == layers
    assert add_up(costs).attention == count_attention_macs(model, (64, 96)) > 0
    assert [tuple(out.shape) for out in outs] == [(1, 8, 16, 24), (1, 16, 8, 12)]


def test_backbone_whose_train_returns_nothing_is_counted():
    """As mmdet's ResNet, and mmpretrain's backbones."""

    class Backbone(nn.Sequential):
        def train(self, mode=True):
            super().train(mode)

    costs, _ = count_backbone(Backbone(nn.Conv2d(3, 2, 1)), (4, 5))
    assert add_up(costs).total == 3 * 2 * 20


def test_module_that_needs_values_is_not_counted():
    class Head(nn.Linear):
        def forward(self, x):
            return super().forward(x[x > 0])

    cost = count_module(Head(2, 3), 'head', torch.empty(2, device='meta'))
    assert (cost.params, cost.layers, cost.total) == (9, None, None)
    assert add_up([cost, Cost('neck', 5, 7, 1)]) == Cost('total', 14, 7, 1)
