"""Changes that tools make to layers of torch: each acts as on the plain formula, which calls every layer."""

import itertools
from functools import partial

import pytest
import torch
from helpers.ids import short_id
from helpers.layer_changes import BACKBONES, OPTIONS, PRODUCTS, SIZE, STOCK, build_pair, check_same_steps, layers
from torch import nn
from torch.nn.utils import parametrizations, prune

from mmrest import ResT
from mmrest.layers import DropPath


class LoRA(nn.Module):
    """A layer with a trainable scale, put in the place of the layer."""

    def __init__(self, layer):
        super().__init__()
        self.layer = layer
        self.scale = nn.Parameter(torch.full((), 0.9, dtype=torch.float64))

    def forward(self, x):
        return self.scale * self.layer(x)


def wrap(model):
    for name in layers(model):
        model.set_submodule(name, LoRA(model.get_submodule(name)))


def on_each(function, kinds=STOCK):
    def change(model):
        for layer in layers(model, kinds).values():
            function(layer)

    return change


def prune_globally(model):
    weights = [(layer, 'weight') for layer in layers(model, (nn.Linear, nn.Conv2d)).values()]
    prune.global_unstructured(weights, prune.L1Unstructured, amount=0.3)


def set_forward(layer):
    """Replace a layer's forward, as tools for offloading do."""
    layer.forward = partial(_scaled, layer.forward)


def _scaled(forward, x):
    return 0.9 * forward(x)


CHANGES = {
    'l1_unstructured': on_each(partial(prune.l1_unstructured, name='weight', amount=0.3), PRODUCTS),
    'ln_structured': on_each(partial(prune.ln_structured, name='weight', amount=0.3, n=2, dim=0), PRODUCTS),
    'prune globally': prune_globally,
    'weight_norm': on_each(nn.utils.weight_norm, PRODUCTS),
    'spectral_norm': on_each(nn.utils.spectral_norm, PRODUCTS),
    'parametrized weight_norm': on_each(parametrizations.weight_norm, PRODUCTS),
    'parametrized spectral_norm': on_each(parametrizations.spectral_norm, PRODUCTS),
    'orthogonal': on_each(parametrizations.orthogonal, (nn.Linear,)),
    'other inputs': on_each(lambda layer: layer.register_forward_pre_hook(lambda module, args: (0.9 * args[0],))),
    'other outputs': on_each(lambda layer: layer.register_forward_hook(lambda module, args, out: 0.9 * out)),
    'other gradients': on_each(
        lambda layer: layer.register_full_backward_hook(
            lambda module, grads, _: (None if grads[0] is None else 0.9 * grads[0],)
        )
    ),
    'forward set': on_each(set_forward),
    'wrapped': wrap,
}


def grid():
    """List all changes with all backbones and options; those not needed for every pair of the three are marked slow."""
    names = ['ResT', 'ResTv2', 'windows']
    for (i, change), (j, backbone), (k, options) in itertools.product(
        enumerate(CHANGES), enumerate(BACKBONES), enumerate(OPTIONS)
    ):
        takes_steps = 'spectral_norm' in change  # of a power iteration, of which recomputation takes one more
        if takes_steps and options.get('with_cp'):
            continue
        marks = () if takes_steps or (i + j + k) % 2 == 0 else pytest.mark.slow
        yield pytest.param(change, backbone, options, id=f'{change}-{names[j]}-{short_id(options)}', marks=marks)


@pytest.mark.parametrize('change, backbone, options', list(grid()))
@pytest.mark.filterwarnings('ignore:.*weight_norm.*:FutureWarning')
def test_backbone_with_every_layer_changed_equals_the_plain_formula(tiny, change, backbone, options):
    check_same_steps(backbone, tiny, CHANGES[change], **options)


ALONE = [
    'stem.conv1',
    'stem.norm1',
    'stem.conv3',
    'patch_embed_2.norm',
    'patch_embed_2.pos.pa_conv',
    'stage2.0.norm1',
    'stage2.0.norm2',
    'stage2.0.attn.q',
    'stage2.0.attn.kv',
    'stage2.0.attn.proj',
    'stage2.0.attn.sr',
    'stage2.0.attn.sr_norm',
    'stage2.0.attn.transform_conv',
    'stage2.0.mlp.fc1',
    'stage2.0.mlp.fc2',
    'norm2',
]


@pytest.mark.parametrize('name', ALONE)
@pytest.mark.parametrize('how', ['hook', 'wrapper', 'identity'])
def test_backbone_with_one_layer_changed_equals_the_plain_formula(tiny, name, how):
    """A stock neighbor must not be fused or reordered with it."""
    if how == 'identity' and name.split('.')[-1] in ('conv1', 'conv3', 'kv', 'sr', 'fc1', 'fc2'):
        pytest.skip('changes shapes')

    def change(model):
        if how == 'hook':
            model.get_submodule(name).register_forward_hook(lambda module, args, out: 0.9 * out)
        else:
            model.set_submodule(name, nn.Identity() if how == 'identity' else LoRA(model.get_submodule(name)))

    check_same_steps(ResT, tiny, change, ffn_recompute=True)


@pytest.mark.parametrize('change', [nn.ReLU(), nn.GELU(approximate='tanh'), nn.Softmax(dim=1)])
def test_backbone_with_another_activation_equals_the_plain_formula(tiny, change, monkeypatch):
    """An activation that looks at several tokens gets them all, though the FFN works in blocks."""
    monkeypatch.setattr('mmrest.ops.ffn.tokens_per_block', lambda *_: 7)

    def replace(model):
        for name in layers(model, (nn.GELU,)):
            model.set_submodule(name, change)

    check_same_steps(ResT, tiny, replace, ffn_recompute=True)


@pytest.mark.parametrize('conv', [dict(kernel_size=3, padding=1), dict(kernel_size=1, groups=2)])
def test_backbone_with_another_head_convolution_equals_the_plain_formula(tiny, conv):
    def replace(model):
        torch.manual_seed(1)
        model.stage2[0].attn.transform_conv = nn.Conv2d(2, 2, **conv).double()

    check_same_steps(ResT, tiny, replace)


@pytest.mark.parametrize(
    'conv', [dict(dilation=2, padding=2), dict(padding=1, padding_mode='reflect'), dict(padding='same')]
)
def test_backbone_with_another_convolution_before_a_norm_equals_the_plain_formula(tiny, conv):
    def replace(model):
        torch.manual_seed(1)
        model.stem.conv2 = nn.Conv2d(4, 4, 3, **conv).double()

    check_same_steps(ResT, tiny, replace)


@pytest.mark.parametrize('train', [True, False])
@pytest.mark.parametrize('backbone', BACKBONES, ids=['ResT', 'ResTv2', 'windows'])
def test_forward_hooks_see_the_tensors_of_the_plain_formula(tiny, backbone, train):
    seen = []
    for model in build_pair(backbone, tiny):
        kept = {}
        for name, module in model.named_modules():
            if type(module) in (*STOCK, nn.GELU, nn.ReLU, nn.Dropout, DropPath):
                kept[name] = []
                module.register_forward_hook(lambda module, args, out, to=kept[name]: to.append((args[0], out)))
        with torch.set_grad_enabled(train):
            torch.manual_seed(0)
            model.train(train)(torch.linspace(-1, 1, 2 * 3 * 40 * 36, dtype=torch.float64).view(2, 3, 40, 36))
        seen.append(kept)
    assert seen[0].keys() == seen[1].keys()
    for name, expected in seen[0].items():
        torch.testing.assert_close(seen[1][name], expected, rtol=1e-9, atol=1e-9, msg=name)
        assert expected, name


@pytest.mark.parametrize('options', OPTIONS)
def test_backward_hooks_fire_on_every_module(tiny, options):
    for backbone in BACKBONES:
        model, seen = backbone(tiny, **options).train(), set()
        for name, module in model.named_modules():
            module.register_full_backward_hook(lambda *_, name=name, seen=seen: seen.add(name))
        sum(out.sum() for out in model(torch.rand(2, 3, *SIZE))).backward()
        lists = {name for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
        assert seen == {name for name, _ in model.named_modules()} - lists
