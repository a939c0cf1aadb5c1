"""Learning rates that decay towards the input."""

import pytest
from mmengine.optim import build_optim_wrapper
from torch import nn

from mmrest import ResT, ResTv2


class Detector(nn.Module):
    """A backbone with something on top."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone
        self.neck = nn.Linear(4, 4)


class ThreeLayers(nn.Module):
    """Some other backbone that tells its depths: three layers and what follows."""

    def __init__(self) -> None:
        super().__init__()
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))

    def get_layer_depth(self, param_name, prefix=''):
        assert param_name.startswith(prefix)
        return int(param_name[len(prefix) :].split('.')[1]), 4


def groups(model, rate=0.5, lr=1.0, **paramwise):
    cfg = dict(
        type='OptimWrapper',
        optimizer=dict(type='AdamW', lr=lr, weight_decay=0.1),
        constructor='LayerDecayOptimWrapperConstructor',
        paramwise_cfg=dict(layer_decay_rate=rate, **paramwise),
    )
    names = {id(param): name for name, param in model.named_parameters()}
    return {names[id(group['params'][0])]: group for group in build_optim_wrapper(model, cfg).optimizer.param_groups}


@pytest.mark.parametrize('backbone, embed', [(ResT, 'patch_embed_'), (ResTv2, 'patch_')])
def test_get_layer_depth_counts_stages(tiny, backbone, embed):
    model = backbone(tiny)
    for name, _ in model.named_parameters():
        module = name.split('.')[0]
        expected = 0 if module == 'stem' else int(module.removeprefix(embed).removeprefix('stage').removeprefix('norm'))
        assert model.get_layer_depth(name) == model.get_layer_depth(f'net.{name}', 'net.') == (expected, 6)
    assert model.get_layer_depth('neck.weight', 'backbone.') == (5, 6)


def test_get_layer_depth_of_fewer_stages_is_the_same(tiny):
    part = ResT(tiny, out_indices=(1,))
    for name, _ in part.named_parameters():
        assert part.get_layer_depth(name) == ResT(tiny).get_layer_depth(name)


def test_layer_decay_lowers_rates_towards_the_input(tiny):
    found = groups(Detector(ResTv2(tiny)), norm_decay_mult=0.0)
    assert found['neck.weight']['lr'] == 1
    assert found['backbone.norm4.weight']['lr'] == found['backbone.stage4.0.attn.q.weight']['lr'] == 0.5
    assert found['backbone.patch_2.proj.weight']['lr'] == found['backbone.stage2.1.mlp.fc1.bias']['lr'] == 0.5**3
    assert found['backbone.stem.proj.0.weight']['lr'] == found['backbone.stem.proj.0.weight']['lr_scale'] == 0.5**5
    # What mmengine's own constructor does goes on.
    assert found['backbone.norm4.weight']['weight_decay'] == 0
    assert found['backbone.stage4.0.attn.q.weight']['weight_decay'] == 0.1


def test_layer_decay_multiplies_with_custom_keys(tiny):
    found = groups(Detector(ResT(tiny)), custom_keys={'stage1': dict(lr_mult=10.0)})
    assert found['backbone.stage1.0.attn.q.weight']['lr'] == 10 * 0.5**4
    assert found['backbone.stage2.0.attn.q.weight']['lr'] == 0.5**3


def test_layer_decay_frozen_parameters_have_no_group(tiny):
    found = groups(Detector(ResT(tiny, frozen_stages=2)))
    assert not [name for name in found if 'stem' in name or 'stage1' in name or 'stage2' in name]
    assert found['backbone.stage3.0.attn.q.weight']['lr'] == 0.5**2


def test_layer_decay_nested_models_use_their_own_depths(tiny):
    """Several of them, one inside another, beside a part that tells none."""
    model = nn.ModuleDict(dict(student=Detector(ResT(tiny)), teacher=ThreeLayers()))
    found = groups(model)
    assert [found[f'teacher.layers.{i}.weight']['lr'] for i in range(3)] == [0.125, 0.25, 0.5]
    assert found['student.backbone.stem.conv1.weight']['lr'] == 0.5**5
    assert found['student.neck.weight']['lr'] == 1


def test_layer_decay_step_moves_deeper_layers_further(tiny):
    model = Detector(ResT(tiny))
    cfg = dict(
        type='OptimWrapper',
        optimizer=dict(type='SGD', lr=1.0),
        constructor='LayerDecayOptimWrapperConstructor',
        paramwise_cfg=dict(layer_decay_rate=0.5),
    )
    wrapper = build_optim_wrapper(model, cfg)
    before = [param.detach().clone() for param in model.parameters()]
    wrapper.update_params(sum(param.sum() for param in model.parameters()))
    moved = {name: (old - new).mean().item() for (name, new), old in zip(model.named_parameters(), before)}
    assert moved['neck.weight'] == pytest.approx(1, rel=1e-3)
    assert moved['backbone.stage3.0.attn.q.weight'] == pytest.approx(0.25, rel=1e-3)


@pytest.mark.parametrize('rate', [None, 0, 1.5, 'high'])
def test_layer_decay_bad_rate_raises(tiny, rate):
    with pytest.raises(ValueError, match='layer_decay_rate'):
        groups(Detector(ResT(tiny)), rate=rate)


def test_layer_decay_model_without_depths_raises():
    with pytest.raises(ValueError, match='get_layer_depth.*Linear has none'):
        groups(nn.Linear(2, 2))


def test_layer_decay_optimizer_without_lr_raises(tiny):
    with pytest.raises(ValueError, match='lr of the optimizer'):
        groups(Detector(ResT(tiny)), lr=None)


def test_layer_decay_is_registered_for_mmengine_and_mmseg():
    """Registered in the root registry, which theirs ask."""
    from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS

    assert OPTIM_WRAPPER_CONSTRUCTORS.get('LayerDecayOptimWrapperConstructor') is not None
    registry = pytest.importorskip('mmseg.registry').OPTIM_WRAPPER_CONSTRUCTORS
    assert registry.get('LayerDecayOptimWrapperConstructor') is not None
