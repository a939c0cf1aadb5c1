"""The base class of both backbones: outputs, norms, freezing, recomputation, arguments; on a small ResT."""

import pytest
import torch
from helpers.compare import find_non_finite_grads
from torch import nn
from torch.nn.modules.batchnorm import _BatchNorm

from mmrest import ResT


@pytest.mark.parametrize(
    'out_indices, emitted',
    [
        ((0, 1, 2, 3), (0, 1, 2, 3)),
        ((1, 2, 3), (1, 2, 3)),
        ((0, 2), (0, 2)),
        (1, (1,)),
        (-1, (3,)),
        ((-2, -1), (2, 3)),
    ],
)
def test_out_indices_select_stages_and_build_nothing_beyond(tiny, out_indices, emitted):
    model = ResT(tiny, out_indices=out_indices)
    outs = model(torch.rand(2, 3, 64, 64))
    assert model.out_indices == emitted
    assert model.out_channels == tuple(out.shape[1] for out in outs) == tuple(tiny['embed_dims'][i] for i in emitted)
    assert model.out_strides == tuple(64 // out.shape[-1] for out in outs)
    # Nothing is built, normed or left without a gradient that no output depends on.
    assert {name for name, _ in model.named_children() if name.startswith('norm')} == {f'norm{i + 1}' for i in emitted}
    assert not hasattr(model, f'stage{emitted[-1] + 2}')
    sum(out.square().sum() for out in outs).backward()
    assert [key for key, p in model.named_parameters() if p.grad is None] == []


def test_stage_output_is_the_same_whatever_else_is_emitted(tiny):
    whole = ResT(tiny, drop_path_rate=0.4)
    part = ResT(tiny, drop_path_rate=0.4, out_indices=(1,))
    part.load_state_dict(whole.state_dict(), strict=False)
    x = torch.rand(1, 3, 50, 50)
    assert torch.equal(whole.eval()(x)[1], part.eval()(x)[0])
    assert part.stage2[1].drop_path.drop_prob == whole.stage2[1].drop_path.drop_prob


def test_out_norm_branch_and_trunk_norm_as_documented(tiny):
    models = {norm: ResT(tiny, out_norm=norm).eval() for norm in ('branch', 'trunk', 'none')}
    for norm in ('branch', 'trunk'):
        models[norm].load_state_dict(models['none'].state_dict(), strict=False)
    x = torch.rand(1, 3, 64, 64)
    branch, trunk, raw = (models[norm](x) for norm in ('branch', 'trunk', 'none'))
    for i in range(4):
        normed = nn.functional.layer_norm(raw[i].movedim(1, -1), raw[i].shape[1:2]).movedim(-1, 1)
        torch.testing.assert_close(branch[i], normed)
    torch.testing.assert_close(trunk[0], branch[0])
    assert not torch.allclose(trunk[1], branch[1], atol=1e-3)


def test_drop_path_rate_rises_linearly_over_all_blocks(tiny):
    model = ResT(tiny, drop_path_rate=0.4)
    rates = [block.drop_path.drop_prob for i in range(4) for block in getattr(model, f'stage{i + 1}')]
    assert rates == pytest.approx([0, 0.1, 0.2, 0.3, 0.4])


@pytest.mark.parametrize('frozen_stages', range(-1, 5))
@pytest.mark.parametrize('with_cp', [False, True])
def test_frozen_stages_get_no_gradient_and_keep_their_statistics(tiny, frozen_stages, with_cp):
    model = ResT(tiny, frozen_stages=frozen_stages, with_cp=with_cp).train()
    prefixes = ('stem.',) * (frozen_stages >= 0) + tuple(
        f'{name}{i + 1}.' for i in range(max(frozen_stages, 0)) for name in ('patch_embed_', 'stage', 'norm')
    )
    before = {k: v.clone() for k, v in model.state_dict().items()}
    outs = model(torch.rand(2, 3, 64, 64))
    if any(p.requires_grad for p in model.parameters()):
        sum(out.square().sum() for out in outs).backward()
    for name, param in model.named_parameters():
        assert param.requires_grad != name.startswith(prefixes), name
        assert (param.grad is not None) == param.requires_grad, name
    moved = {k for k, v in model.state_dict().items() if 'running' in k and not torch.equal(v, before[k])}
    assert moved == {k for k in before if 'running' in k and not k.startswith(prefixes)}


def test_norm_eval_keeps_batch_norm_in_eval_mode(tiny):
    model = ResT(tiny, norm_eval=True).train()
    assert [key for key, m in model.named_modules() if isinstance(m, _BatchNorm) and m.training] == []
    assert model.stage1[0].training
    default = ResT(tiny).train()
    assert [key for key, m in default.named_modules() if isinstance(m, _BatchNorm) and not m.training] == []


def test_with_cp_gives_the_same_gradients(tiny):
    plain, saving = (
        ResT(tiny, with_cp=with_cp, drop_path_rate=0.3, drop_rate=0.1).double() for with_cp in (False, True)
    )
    saving.load_state_dict(plain.state_dict())
    x = torch.rand(2, 3, 64, 64, dtype=torch.float64)
    for model in (plain, saving):
        torch.manual_seed(1)  # the same samples and values are dropped
        sum(out.square().sum() for out in model(x)).backward()
    for (name, a), b in zip(plain.named_parameters(), saving.parameters()):
        torch.testing.assert_close(a.grad, b.grad, rtol=0, atol=1e-10, msg=name)


@pytest.mark.parametrize('dtype', [torch.float64, torch.bfloat16, torch.float16])
def test_backbone_in_other_dtypes_keeps_them_and_is_finite(tiny, dtype):
    model = ResT(tiny).to(dtype)
    outs = model(torch.rand(2, 3, 64, 64, dtype=dtype))
    sum(out.float().square().mean() for out in outs).backward()
    assert [out.dtype for out in outs] == [dtype] * 4
    assert [i for i, out in enumerate(outs) if not out.isfinite().all()] == []
    assert find_non_finite_grads(model) == []


@pytest.mark.parametrize(
    'kwargs, message',
    [
        (dict(arch='tiny'), "Unknown arch 'tiny': choose from lite, small, base, large"),
        (dict(arch=dict(embed_dims=(8,), depths=(1,))), 'exactly the keys'),
        (dict(arch=dict(embed_dims=(8, 16), depths=(1,), num_heads=(1,), sr_ratios=(1,))), 'one value per stage'),
        (dict(arch=dict(embed_dims=(8,), depths=(0,), num_heads=(1,), sr_ratios=(1,))), 'positive ints'),
        (dict(arch=None), 'arch must be a name'),
        (dict(out_norm='post'), "Unknown out_norm 'post'"),
        (dict(out_indices=(0, 4)), 'out_indices'),
        (dict(out_indices=(2, 1)), 'out_indices'),
        (dict(out_indices=()), 'out_indices'),
        (dict(frozen_stages=5), 'frozen_stages'),
        (dict(frozen_stages='1'), 'frozen_stages'),
        (dict(out_indices='01'), 'out_indices'),
        (dict(out_indices=None), 'out_indices'),
        (dict(out_indices=True), 'out_indices'),
        (dict(out_indices=(0.0, 1.0)), 'out_indices'),
        (dict(arch=dict(embed_dims=8, depths=1, num_heads=1, sr_ratios=1)), 'one value per stage'),
        (dict(arch=dict(embed_dims=(8,), depths=(1,), num_heads=(1,), sr_ratios=(3,)), out_indices=0), 'even, got 3'),
        (dict(in_channels='a'), 'in_channels'),
        (dict(in_channels=0), 'in_channels'),
        (dict(mlp_ratio=-1), 'mlp_ratio'),
        (dict(mlp_ratio=0.001), 'mlp_ratio'),
        (dict(drop_rate=1), 'drop_rate'),
        (dict(attn_drop_rate=-1), 'attn_drop_rate'),
        (dict(drop_path_rate=-0.5), 'drop_path_rate'),
        (dict(attn_impl='fast'), "attn_impl 'fast'"),
    ],
)
def test_backbone_with_bad_argument_raises_and_names_it(kwargs, message):
    with pytest.raises(ValueError, match=message):
        ResT(**{'arch': 'lite', **kwargs})


def test_backbone_on_meta_device_gives_shapes(tiny):
    with torch.device('meta'):
        outs = ResT(tiny)(torch.empty(1, 3, 4000, 3000))
    assert outs[-1].shape == (1, 32, 125, 94)


def test_in_channels_sets_the_channels_of_the_input(tiny):
    assert ResT(tiny, in_channels=1)(torch.rand(2, 1, 32, 32))[0].shape == (2, 8, 8, 8)
