"""The switches of the papers' ablations: each changes the module it names and nothing else."""

import pytest
import torch
from helpers.compare import find_non_finite_grads
from torch import nn

from mmrest import ResT, ResTAblation, ResTv2, ResTv2Ablation
from mmrest.layers import PixelAttention, variants
from mmrest.layers.variants import LearnableEmbedding

# With a 1000-way classifier, as the paper prints them (10.49, 13.66, 30.28, 51.63 M).
PARAMETERS_RESNET_STEM = dict(lite=10_489_196, small=13_660_604, base=30_277_660, large=51_626_764)
# Switch -> what of a state dict's key tells that it belongs to the module that the switch names.
SWITCHES = {
    ('stem', 'resnet'): ('.stem.',),
    ('stem', 'pvt'): ('.stem.',),
    ('attention', 'msa'): ('.attn.sr', '.attn.transform_conv'),
    ('reduction', 'avgpool'): ('.attn.sr.',),
    ('reduction', 'maxpool'): ('.attn.sr.',),
    ('head_interaction', 'conv'): (),
    ('head_interaction', 'none'): ('.attn.transform_conv',),
    ('position', 'gl'): ('.pos.',),
    ('position', 'gl_dw'): ('.pos.',),
    ('position', 'le'): ('.pos.',),
    ('position', 'none'): ('.pos.',),
}
NAMED = [dict([switch]) for switch in SWITCHES]


@pytest.mark.parametrize('arch', PARAMETERS_RESNET_STEM)
def test_rest_ablation_with_resnet_stem_has_parameter_count_of_the_paper(arch):
    with torch.device('meta'):
        model = ResTAblation(arch, out_indices=(3,), stem='resnet')
    classifier = model.out_channels[-1] * 1000 + 1000
    assert sum(p.numel() for p in model.parameters()) + classifier == PARAMETERS_RESNET_STEM[arch]


@pytest.mark.parametrize('switch', SWITCHES, ids='-'.join)
def test_rest_ablation_switch_changes_only_the_module_it_names(tiny, switch):
    torch.manual_seed(0)
    default = ResT(tiny).eval()
    torch.manual_seed(0)
    changed = ResTAblation(tiny, **dict([switch])).eval()
    shapes = [{key: value.shape for key, value in model.state_dict().items()} for model in (default, changed)]
    different = {key for key in shapes[0].keys() | shapes[1].keys() if shapes[0].get(key) != shapes[1].get(key)}
    assert [key for key in sorted(different) if not any(part in f'.{key}' for part in SWITCHES[switch])] == []
    assert bool(different) == bool(SWITCHES[switch])
    # What both have gives other features in the changed network: the switch does something.
    changed.load_state_dict(
        {k: v for k, v in default.state_dict().items() if shapes[1].get(k) == v.shape}, strict=False
    )
    x = torch.rand(1, 3, 64, 64)
    assert not torch.allclose(default(x)[-1], changed(x)[-1], atol=1e-3)


@pytest.mark.parametrize('kwargs', NAMED)
@pytest.mark.parametrize('size', [(1, 1), (33, 50), (64, 64)])
def test_rest_ablation_at_any_size_gives_every_parameter_a_gradient(tiny, kwargs, size):
    model = ResTAblation(tiny, **kwargs)
    outs = model(torch.rand(1, 3, *size))
    assert [tuple(out.shape[2:]) for out in outs] == [tuple(-(-n // 2 ** (i + 2)) for n in size) for i in range(4)]
    sum(out.square().sum() for out in outs).backward()
    assert find_non_finite_grads(model) == []


def test_rest_ablation_switch_selects_the_named_module(tiny):
    assert isinstance(ResTAblation(tiny, stem='resnet').stem, variants.ResNetStem)
    assert isinstance(ResTAblation(tiny, stem='pvt').stem, variants.PVTStem)
    attn = ResTAblation(tiny, attention='msa').stage2[0].attn
    assert attn.sr is None and attn.transform_conv is None
    for name, kind in (('avgpool', nn.AvgPool2d), ('maxpool', nn.MaxPool2d), ('dwconv', nn.Conv2d)):
        attn = ResTAblation(tiny, reduction=name).stage2[0].attn
        assert isinstance(attn.sr, kind) and isinstance(attn.sr_norm, nn.LayerNorm)
    for name, mixes, normalises in (('conv+in', True, True), ('conv', True, False), ('none', False, None)):
        attn = ResTAblation(tiny, head_interaction=name).stage4[0].attn
        assert (attn.transform_conv is not None) == mixes
        assert not mixes or attn.attend.head_norm == normalises
    for name, kind in (
        ('pa', PixelAttention),
        ('gl', variants.GroupLinear),
        ('gl_dw', variants.GroupLinear),
        ('le', LearnableEmbedding),
        ('none', nn.Identity),
    ):
        model = ResTAblation(tiny, position=name)
        assert {type(m.pos) for m in (model.stem, model.patch_embed_2, model.patch_embed_4)} == {kind}


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(stem='vit'), "Unknown stem 'vit': choose from rest, resnet, pvt"),
        (dict(attention='mhsa'), "Unknown attention 'mhsa': choose from emsa, msa"),
        (dict(reduction='pool'), "Unknown reduction 'pool': choose from dwconv, avgpool, maxpool"),
        (dict(head_interaction='in'), "Unknown head_interaction 'in': choose from conv"),
        (dict(position='sin'), "Unknown position encoding 'sin': choose from pa, gl, gl_dw, le, none"),
        (dict(position='le', pretrain_img_size=0), 'pretrain_img_size'),
        (dict(pretrain_img_size='big'), 'pretrain_img_size'),
        (dict(attention='msa', reduction='avgpool'), 'at their defaults'),
        (dict(attention='msa', head_interaction='none'), 'at their defaults'),
    ],
)
def test_rest_ablation_with_bad_switch_raises_and_names_it(tiny, kwargs, message):
    with pytest.raises(ValueError, match=message):
        ResTAblation(tiny, **kwargs)


TWO_STAGES = dict(embed_dims=(8, 16), depths=(2, 2), num_heads=(1, 2), sr_ratios=(4, 2))
WINDOWS = (8, 4)


@pytest.mark.parametrize('target', ['x', 'q', 'k', 'v', 'none'])
@pytest.mark.parametrize('strategy', ['pixel_shuffle', 'nearest', 'bilinear'])
@pytest.mark.parametrize('style', ['global', 'win'])
def test_restv2_ablation_upsample_switch_changes_only_the_branch(target, strategy, style):
    model = ResTv2Ablation(
        TWO_STAGES,
        style=style,
        window_sizes=WINDOWS,
        out_indices=(0, 1),
        upsample_target=target,
        upsample_strategy=strategy,
    )
    outs = model(torch.rand(1, 3, 45, 70))
    sum(out.square().sum() for out in outs).backward()
    assert [key for key, p in model.named_parameters() if p.grad is None] == []
    keys = set(model.state_dict())
    default = set(ResTv2(TWO_STAGES, out_indices=(0, 1)).state_dict())
    assert [key for key in sorted(keys ^ default) if '.attn.up' not in key] == []
    assert bool([key for key in keys if 'attn.up_norm' in key]) == (target != 'none')
    assert bool([key for key in keys if 'attn.up.0' in key]) == (target != 'none' and strategy == 'pixel_shuffle')


def test_restv2_ablation_head_mixing_and_position_change_only_their_modules():
    default = set(ResTv2(TWO_STAGES, out_indices=(0, 1)).state_dict())
    mixing = ResTv2Ablation(TWO_STAGES, out_indices=(0, 1), head_mixing=True)
    assert {key.split('.attn.')[-1] for key in set(mixing.state_dict()) - default} == {
        'transform_conv.weight',
        'transform_conv.bias',
    }
    bare = ResTv2Ablation(TWO_STAGES, out_indices=(0, 1), position='none')
    assert {key.split('.')[1] for key in default - set(bare.state_dict())} == {'pos'}
    assert mixing(torch.rand(1, 3, 40, 40))[1].shape == bare(torch.rand(1, 3, 40, 40))[1].shape == (1, 16, 5, 5)


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(upsample_target='y'), 'upsample_target'),
        (dict(upsample_strategy='bicubic'), 'upsample_strategy'),
        (dict(position='gps'), 'position'),
        (dict(position='le'), "Unknown position 'le'"),
        (dict(style='swin'), "Unknown style 'swin'"),
    ],
)
def test_restv2_ablation_with_bad_argument_raises_and_names_it(tiny, kwargs, message):
    with pytest.raises(ValueError, match=message):
        ResTv2Ablation(tiny, **kwargs)
