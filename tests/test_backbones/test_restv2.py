"""ResTv2: its styles of attention, its arguments, its published names."""

import pytest
import torch
from helpers.tolerances import assert_close_in_std
from mmengine.registry import MODELS

from mmrest import ResTv2
from mmrest.layers import EMSAv2

# With the 1000-way classifier: LayerNorm and Linear(C, 1000).
PARAMETERS = dict(tiny=30_434_776, small=41_205_976, base=55_965_208, large=86_532_520)
TWO_STAGES = dict(embed_dims=(8, 16), depths=(2, 2), num_heads=(1, 2), sr_ratios=(4, 2))
WINDOWS = (8, 4)


def build(backbone=ResTv2, style='global', arch=TWO_STAGES, **kwargs):
    """Build a small float64 network in eval mode, with the same weights in every style."""
    settings = dict(style=style, window_sizes=WINDOWS, out_indices=(0, 1), **kwargs)
    model = backbone(arch, **settings).double().eval()
    torch.manual_seed(0)
    weights = backbone(arch, **{**settings, 'style': 'global'}).double().state_dict()
    generator = torch.Generator().manual_seed(1)
    for key, value in sorted(weights.items()):
        if value.is_floating_point() and 'running' not in key:
            value += 0.3 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
    result = model.load_state_dict(weights, strict=False)
    assert result.unexpected_keys == []
    assert [key for key in result.missing_keys if style != 'cwin' or '.conv.' not in key] == []
    return model


@pytest.mark.parametrize('arch', PARAMETERS)
def test_restv2_has_the_parameter_count_of_the_paper(arch):
    with torch.device('meta'):
        model = ResTv2(arch, out_indices=(3,))
    assert sum(p.numel() for p in model.parameters()) + model.out_channels[-1] * 1000 + 1000 == PARAMETERS[arch]


@pytest.mark.parametrize('style', ['global', 'win', 'cwin', 'hwin'])
@pytest.mark.parametrize('size', [(1, 1), (1, 70), (33, 47), (64, 96)])
@pytest.mark.parametrize('training', [True, False])
def test_restv2_with_one_image_of_any_size_rounds_sizes_up(tiny, style, size, training):
    model = ResTv2(tiny, style=style, window_sizes=(8, 4, 2, 1)).train(training)
    outs = model(torch.rand(1, 3, *size))
    assert [tuple(out.shape) for out in outs] == [
        (1, c, *(-(-n // 2 ** (i + 2)) for n in size)) for i, c in enumerate(tiny['embed_dims'])
    ]
    sum(out.square().sum() for out in outs).backward()
    assert [i for i, out in enumerate(outs) if not out.isfinite().all()] == []
    assert [key for key, p in model.named_parameters() if p.grad is None] == []


def loop_over_windows(model, x):
    """Compute the outputs with one call of the global attention for each window."""
    outs = []
    for i, embed in enumerate(model.embed_names):
        x = getattr(model, embed)(x)
        b, c, h, w = x.shape
        for block in getattr(model, f'stage{i + 1}'):
            normed = block.norm1(x.permute(0, 2, 3, 1))
            attended = torch.zeros_like(normed)
            side = WINDOWS[i] if block.attn.window_size else max(h, w)
            for n in range(b):
                for top in range(0, h, side):
                    for left in range(0, w, side):
                        part = normed[n : n + 1, top : top + side, left : left + side]
                        size = part.shape[1:3]
                        out = EMSAv2.forward(block.attn, part.flatten(1, 2), size)
                        attended[n : n + 1, top : top + side, left : left + side] = out.unflatten(1, size)
            x = x.permute(0, 2, 3, 1) + attended
            x = (x + block.mlp(block.norm2(x))).permute(0, 3, 1, 2)
        outs.append(getattr(model, f'norm{i + 1}')(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
    return outs


@pytest.mark.parametrize('style', ['global', 'win', 'hwin'])
@pytest.mark.parametrize('size', [(64, 64), (61, 95), (5, 130), (27, 31)])
def test_restv2_equals_a_loop_over_windows(style, size):
    model = build(style=style)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    for out, expected in zip(model(x), loop_over_windows(model, x)):
        assert_close_in_std(out, expected)


@pytest.mark.parametrize('style', ['win', 'cwin', 'hwin'])
def test_window_style_with_map_inside_one_window_equals_global(style):
    x = torch.randn(2, 3, 31, 29, dtype=torch.float64)
    for out, expected in zip(build(style=style)(x), build(style='global')(x)):
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)


def test_cwin_at_initialization_equals_win():
    x = torch.randn(1, 3, 96, 70, dtype=torch.float64)
    for out, expected in zip(build(style='cwin')(x), build(style='win')(x)):
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)


def reach(model):
    """Return which tokens of stage 1, 16 x 16 in windows of 8, change with the pixel behind token (3, 3)."""
    torch.manual_seed(2)
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    changed = x.clone()
    changed[0, :, 13, 13] += 1
    return (model(changed)[0] - model(x)[0]).abs().amax(dim=(0, 1)) > 1e-12


def test_pixel_influence_reaches_as_far_as_the_style_allows():
    own = torch.zeros(16, 16, dtype=torch.bool)
    own[:8, :8] = True
    assert torch.equal(reach(build(style='win')), own)
    assert reach(build(style='hwin')).all()
    assert reach(build(style='global')).all()
    cwin = build(style='cwin')
    assert torch.equal(reach(cwin), own)  # as it starts
    torch.nn.init.normal_(cwin.stage1[-1].conv.weight)
    beyond = torch.zeros(16, 16, dtype=torch.bool)
    beyond[:11, :11] = True  # three tokens further: half of the 7x7 kernel
    assert torch.equal(reach(cwin), beyond)


def test_hwin_makes_the_last_block_of_global_stages_global():
    def windows(**kwargs):
        model = ResTv2(dict(TWO_STAGES, depths=(3, 2)), style='hwin', window_sizes=WINDOWS, **kwargs)
        return [[block.attn.window_size for block in getattr(model, f'stage{i + 1}')] for i in range(model.num_stages)]

    assert windows(out_indices=(0, 1)) == [[8, 8, None], [4, None]]
    assert windows(out_indices=(1,)) == [[8, 8, 8], [4, None]]
    assert windows(out_indices=(0, 1), hwin_global_stages=(0,)) == [[8, 8, None], [4, 4]]


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(arch='huge'), "Unknown arch 'huge': choose from tiny, small, base, large"),
        (dict(style='swin'), "Unknown style 'swin': choose from global, win, cwin, hwin"),
        (dict(style='win', window_sizes=(8, 8)), 'window_sizes'),
        (dict(style='win', window_sizes=(8, 8, 0, 8)), 'window_sizes'),
        (dict(style='hwin', hwin_global_stages=(4,)), 'hwin_global_stages'),
        (dict(style='win', window_sizes=4), 'window_sizes'),
        (dict(style='win', window_sizes=(4.5, 4, 4, 4)), 'window_sizes'),
        (dict(style='hwin', hwin_global_stages=3), 'hwin_global_stages'),
        (dict(in_channels=0), 'in_channels'),
        (dict(attn_drop_rate=2), 'attn_drop_rate'),
    ],
)
def test_restv2_with_bad_argument_raises_and_names_it(tiny, kwargs, message):
    with pytest.raises(ValueError, match=message):
        ResTv2(**{'arch': tiny, **kwargs})


@pytest.mark.parametrize('name', ['ResTv2', 'ResTV2'])
def test_restv2_is_registered_under_both_names(tiny, name):
    assert isinstance(MODELS.build(dict(type=name, arch=tiny)), ResTv2)


@pytest.mark.parametrize('norm', ['norm_{}', 'norm_{}.0'], ids=['norm_1', 'norm_1.0'])
def test_restv2_loads_norms_under_their_published_names(tiny, norm):
    model = ResTv2(tiny)
    state = {
        key: torch.rand_like(value) if value.is_floating_point() else value for key, value in model.state_dict().items()
    }
    published = {
        norm.format(key[4]) + key[5:] if key.startswith('norm') else key: value for key, value in state.items()
    }
    assert published.keys() != state.keys()
    model.load_state_dict(published)
    torch.testing.assert_close(dict(model.state_dict()), state, rtol=0, atol=0)
