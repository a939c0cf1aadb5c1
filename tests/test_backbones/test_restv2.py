"""ResTv2: what it adds to the shared base, above all its styles."""

import pytest
import torch
from mmengine.registry import MODELS

from mmrest import ResTv2, ResTv2Ablation
from mmrest.layers import EMSAv2

# With the 1000-way classifier: LayerNorm and Linear(C, 1000).
PARAMETERS = dict(tiny=30_434_776, small=41_205_976, base=55_965_208, large=86_532_520)
TWO_STAGES = dict(embed_dims=(8, 16), depths=(2, 2), num_heads=(1, 2), sr_ratios=(4, 2))
WINDOWS = (8, 4)


def build(backbone=ResTv2, style='global', arch=TWO_STAGES, **kwargs):
    """A small float64 network in eval mode; the same weights in every style."""
    settings = dict(style=style, window_sizes=WINDOWS, out_indices=(0, 1), **kwargs)
    model = backbone(arch, **settings).double().eval()
    torch.manual_seed(0)
    weights = backbone(arch, **{**settings, 'style': 'global'}).double().state_dict()
    generator = torch.Generator().manual_seed(1)
    for key, value in sorted(weights.items()):
        if value.is_floating_point() and 'running' not in key:
            value += 0.3 * torch.randn(value.shape, generator=generator, dtype=value.dtype)
    result = model.load_state_dict(weights, strict=False)
    assert not result.unexpected_keys
    assert all(style == 'cwin' and '.conv.' in key for key in result.missing_keys)
    return model


@pytest.mark.parametrize('arch', PARAMETERS)
def test_parameter_counts_of_the_paper(arch):
    with torch.device('meta'):
        model = ResTv2(arch, out_indices=(3,))
    assert sum(p.numel() for p in model.parameters()) + model.out_channels[-1] * 1000 + 1000 == PARAMETERS[arch]


@pytest.mark.parametrize('style', ['global', 'win', 'cwin', 'hwin'])
@pytest.mark.parametrize('size', [(1, 1), (1, 70), (33, 47), (64, 96)])
@pytest.mark.parametrize('training', [True, False])
def test_any_size_with_batch_one(tiny, style, size, training):
    model = ResTv2(tiny, style=style, window_sizes=(8, 4, 2, 1)).train(training)
    outs = model(torch.rand(1, 3, *size))
    assert [tuple(out.shape) for out in outs] == [
        (1, c, *(-(-n // 2 ** (i + 2)) for n in size)) for i, c in enumerate(tiny['embed_dims'])
    ]
    sum(out.square().sum() for out in outs).backward()
    assert all(out.isfinite().all() for out in outs)
    assert all(p.grad is not None for p in model.parameters())


def loop_over_windows(model, x):
    """The stages once more, with one call of the global attention per window and nothing clever."""
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
def test_equals_a_loop_over_windows(style, size):
    model = build(style=style)
    x = torch.randn(2, 3, *size, dtype=torch.float64)
    for out, expected in zip(model(x), loop_over_windows(model, x)):
        assert (out - expected).abs().max() < 1e-9 * expected.std()


@pytest.mark.parametrize('style', ['win', 'cwin', 'hwin'])
def test_a_window_over_everything_is_global(style):
    x = torch.randn(2, 3, 31, 29, dtype=torch.float64)
    for out, expected in zip(build(style=style)(x), build(style='global')(x)):
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)


def test_cwin_starts_as_win():
    x = torch.randn(1, 3, 96, 70, dtype=torch.float64)
    for out, expected in zip(build(style='cwin')(x), build(style='win')(x)):
        torch.testing.assert_close(out, expected, rtol=0, atol=1e-12)


def reach(model):
    """Stage-1 tokens, 16 x 16 in windows of 8, that change with the pixel behind token (3, 3)."""
    torch.manual_seed(2)
    x = torch.randn(1, 3, 64, 64, dtype=torch.float64)
    changed = x.clone()
    changed[0, :, 13, 13] += 1
    return (model(changed)[0] - model(x)[0]).abs().amax(dim=(0, 1)) > 1e-12


def test_reach_of_a_pixel():
    own = torch.zeros(16, 16, dtype=torch.bool)
    own[:8, :8] = True
    assert torch.equal(reach(build(style='win')), own)
    assert reach(build(style='hwin')).all() and reach(build(style='global')).all()
    cwin = build(style='cwin')
    assert torch.equal(reach(cwin), own)  # as it starts
    torch.nn.init.normal_(cwin.stage1[-1].conv.weight)
    beyond = torch.zeros(16, 16, dtype=torch.bool)
    beyond[:11, :11] = True  # three tokens further: half of the 7x7 kernel
    assert torch.equal(reach(cwin), beyond)


def test_which_blocks_hwin_leaves_in_windows():
    def windows(**kwargs):
        model = ResTv2(dict(TWO_STAGES, depths=(3, 2)), style='hwin', window_sizes=WINDOWS, **kwargs)
        return [[block.attn.window_size for block in getattr(model, f'stage{i + 1}')] for i in range(model.num_stages)]

    assert windows(out_indices=(0, 1)) == [[8, 8, None], [4, None]]
    assert windows(out_indices=(1,)) == [[8, 8, 8], [4, None]]
    assert windows(out_indices=(0, 1), hwin_global_stages=(0,)) == [[8, 8, None], [4, 4]]


@pytest.mark.parametrize('target', ['x', 'q', 'k', 'v', 'none'])
@pytest.mark.parametrize('strategy', ['pixel_shuffle', 'nearest', 'bilinear'])
@pytest.mark.parametrize('style', ['global', 'win'])
def test_upsample_switches(target, strategy, style):
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
    assert all(p.grad is not None for p in model.parameters())
    keys = set(model.state_dict())
    # The switch changes the branch, and nothing else.
    assert keys ^ set(ResTv2(TWO_STAGES, out_indices=(0, 1)).state_dict()) <= {
        key for key in keys | set(ResTv2(TWO_STAGES, out_indices=(0, 1)).state_dict()) if '.attn.up' in key
    }
    assert any('attn.up_norm' in key for key in keys) == (target != 'none')
    assert any('attn.up.0' in key for key in keys) == (target != 'none' and strategy == 'pixel_shuffle')


def test_upsampling_starts_from_its_target():
    """Without the attention and with an identity projection, the output is the branch of the target."""
    attn = build(ResTv2Ablation, upsample_strategy='nearest').stage2[0].attn
    attn.proj = torch.nn.Identity()
    attn.attend.register_forward_hook(lambda module, args, out: torch.zeros_like(out))
    x = torch.randn(1, 35, 16, dtype=torch.float64)
    for target in ('x', 'q', 'k', 'v'):
        attn.upsample_target = target
        attn.up = torch.nn.Upsample(scale_factor=1 if target == 'q' else 2)
        reduced, (h, w) = attn.reduce(x, (5, 7))
        k, v = attn.kv(reduced).chunk(2, dim=-1)
        start = dict(x=reduced, q=attn.q(x), k=k, v=v)[target].transpose(1, 2)
        start = start.unflatten(2, (5, 7) if target == 'q' else (h, w))
        if target != 'q':
            start = start.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)[..., :5, :7]
        branch = attn.up_norm(start.flatten(2).transpose(1, 2))
        torch.testing.assert_close(attn(x, (5, 7)), branch)


def test_head_mixing_and_position_switches():
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
def test_bad_arguments_are_named(tiny, kwargs, message):
    with pytest.raises(ValueError, match=message):
        ResTv2(**{'arch': tiny, **kwargs})


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
def test_bad_arguments_of_the_ablations_are_named(tiny, kwargs, message):
    with pytest.raises(ValueError, match=message):
        ResTv2Ablation(tiny, **kwargs)


@pytest.mark.parametrize('name', ['ResTv2', 'ResTV2'])
def test_registered_under_both_names(tiny, name):
    assert isinstance(MODELS.build(dict(type=name, arch=tiny)), ResTv2)


@pytest.mark.parametrize('norm', ['norm_{}', 'norm_{}.0'])
def test_published_norm_names(tiny, norm):
    model = ResTv2(tiny)
    state = {
        key: torch.rand_like(value) if value.is_floating_point() else value for key, value in model.state_dict().items()
    }
    published = {
        norm.format(key[4]) + key[5:] if key.startswith('norm') else key: value for key, value in state.items()
    }
    assert published.keys() != state.keys()
    model.load_state_dict(published)
    assert all(torch.equal(value, state[key]) for key, value in model.state_dict().items())
