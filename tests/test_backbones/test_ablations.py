"""The switches of the ResT paper's ablations: each changes what it names and nothing else."""

import pytest
import torch
from torch import nn

from mmrest import ResT, ResTAblation
from mmrest.layers import EMSA, PixelAttention, variants
from mmrest.layers.variants import EMSAVariant, LearnableEmbedding, build_position

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
def test_parameters_of_the_paper_are_those_with_the_stem_of_resnet(arch):
    with torch.device('meta'):
        model = ResTAblation(arch, out_indices=(3,), stem='resnet')
    classifier = model.out_channels[-1] * 1000 + 1000
    assert sum(p.numel() for p in model.parameters()) + classifier == PARAMETERS_RESNET_STEM[arch]


@pytest.mark.parametrize('switch', SWITCHES, ids='-'.join)
def test_a_switch_changes_the_module_it_names_and_nothing_else(tiny, switch):
    torch.manual_seed(0)
    default = ResT(tiny).eval()
    torch.manual_seed(0)
    changed = ResTAblation(tiny, **dict([switch])).eval()
    shapes = [{key: value.shape for key, value in model.state_dict().items()} for model in (default, changed)]
    different = {key for key in shapes[0].keys() | shapes[1].keys() if shapes[0].get(key) != shapes[1].get(key)}
    assert all(any(part in f'.{key}' for part in SWITCHES[switch]) for key in different), different
    assert bool(different) == bool(SWITCHES[switch])
    # What both have gives other features in the changed network: the switch does something.
    changed.load_state_dict(
        {k: v for k, v in default.state_dict().items() if shapes[1].get(k) == v.shape}, strict=False
    )
    x = torch.rand(1, 3, 64, 64)
    assert not torch.allclose(default(x)[-1], changed(x)[-1], atol=1e-3)


@pytest.mark.parametrize('kwargs', NAMED, ids=str)
@pytest.mark.parametrize('size', [(1, 1), (33, 50), (64, 64)])
def test_any_size_and_every_parameter_gets_a_gradient(tiny, kwargs, size):
    model = ResTAblation(tiny, **kwargs)
    outs = model(torch.rand(1, 3, *size))
    assert [tuple(out.shape[2:]) for out in outs] == [tuple(-(-n // 2 ** (i + 2)) for n in size) for i in range(4)]
    sum(out.square().sum() for out in outs).backward()
    assert not [key for key, p in model.named_parameters() if p.grad is None or not p.grad.isfinite().all()]


def test_modules_behind_the_names(tiny):
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


def test_msa_is_the_textbook_formula():
    attn = EMSA(16, num_heads=4, head_mixing=False).double()
    x = torch.randn(2, 15, 16, dtype=torch.float64)
    weight, bias = torch.cat([attn.q.weight, attn.kv.weight]), torch.cat([attn.q.bias, attn.kv.bias])
    expected, _ = nn.functional.multi_head_attention_forward(
        *[x.transpose(0, 1)] * 3, 16, 4, weight, bias, None, None, False, 0.0, attn.proj.weight, attn.proj.bias
    )
    torch.testing.assert_close(attn(x, (3, 5)), expected.transpose(0, 1), rtol=0, atol=1e-12)


@pytest.mark.parametrize('sr_ratio', [2, 4, 8])
@pytest.mark.parametrize('reduction', ['avgpool', 'maxpool'])
def test_pools_see_what_the_convolution_sees(sr_ratio, reduction):
    attn = EMSAVariant(4, num_heads=2, sr_ratio=sr_ratio, reduction=reduction)
    x = torch.zeros(1, 4, 2 * sr_ratio, 2 * sr_ratio)
    x[..., sr_ratio, sr_ratio] = 1  # the centre of the last window
    pooled = attn.sr(x)[0, 0]
    assert pooled.shape == (2, 2) and pooled[0].eq(0).all() and pooled[1, 0] == 0
    assert pooled[1, 1] == (1 if reduction == 'maxpool' else pytest.approx(1 / (sr_ratio + 1) ** 2))
    ones = attn.sr(torch.ones_like(x))  # what lies beyond the border does not count
    assert torch.equal(ones, torch.ones_like(ones))


def test_forms_of_gl():
    x = torch.randn(1, 6, 5, 4)
    pointwise, depthwise = build_position('gl', 6), build_position('gl_dw', 6)
    expected = (
        x
        + torch.einsum('oi,bihw->bohw', pointwise.gl_conv.weight[..., 0, 0], x)
        + pointwise.gl_conv.bias[:, None, None]
    )
    torch.testing.assert_close(pointwise(x), expected)
    assert depthwise.gl_conv.weight.shape == (6, 1, 3, 3) and pointwise.gl_conv.weight.shape == (6, 6, 1, 1)
    torch.testing.assert_close(depthwise(x), x + depthwise.gl_conv(x))


def test_le_is_made_for_a_size_and_interpolates_to_others(tiny):
    model = ResTAblation(tiny, position='le', pretrain_img_size=72)
    assert [
        m.pos.pos_embed.shape[-1] for m in (model.stem, model.patch_embed_2, model.patch_embed_3, model.patch_embed_4)
    ] == [18, 9, 5, 3]
    layer = LearnableEmbedding(2, 3)
    x = torch.zeros(1, 2, 3, 3)
    assert torch.equal(layer(x), layer.pos_embed)
    with torch.no_grad():
        layer.pos_embed.copy_(torch.tensor([0.0, 1, 2]).expand(1, 2, 3, 3))
    larger = layer(torch.zeros(1, 2, 6, 12))
    assert larger.shape == (1, 2, 6, 12)
    assert larger.diff(dim=-1).ge(-1e-6).all() and larger.diff(dim=-2).abs().max() < 1e-6


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
def test_bad_switches_are_named(tiny, kwargs, message):
    with pytest.raises(ValueError, match=message):
        ResTAblation(tiny, **kwargs)
