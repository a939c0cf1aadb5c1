"""From files in the layouts that people have to a backbone, with a report."""

import argparse
import copy
import logging

import pytest
import torch
from helpers.compare import assert_equal
from mmengine.runner.checkpoint import load_checkpoint
from torch import nn

from mmrest import ResT
from mmrest.checkpoints import CheckpointError, compare_state_dict, load_pretrained, unwrap_state_dict


def published(model, norms=('norm',), wrapper='', head=True):
    """The state dict of a published file: own names for output norms, a classifier, a wrapper."""
    names = {'norm': 'norm4', 'norm1': 'norm1', 'norm2': 'norm2', 'norm3': 'norm3'}
    state = {
        k: torch.randn_like(v) if v.is_floating_point() else v
        for k, v in model.state_dict().items()
        if not k.startswith('norm')
    }
    for norm in norms:
        for leaf in ('weight', 'bias'):
            state[f'{norm}.{leaf}'] = torch.randn_like(model.state_dict()[f'{names[norm]}.{leaf}'])
    if head:
        state['head.weight'], state['head.bias'] = torch.randn(10, 32), torch.randn(10)
    return {wrapper + k: v for k, v in state.items()}


WRAPPERS = ['', 'module.', 'backbone.', 'backbone.bottom_up.', 'module.backbone.']


@pytest.mark.parametrize('wrapper', WRAPPERS)
@pytest.mark.parametrize('container', [None, 'model', 'state_dict'])
def test_init_cfg_published_file_is_loaded(tiny, tmp_path, wrapper, container):
    model = ResT(tiny)
    state = published(model, wrapper=wrapper)
    path = tmp_path / 'file.pth'
    torch.save(state if container is None else {container: state, 'args': argparse.Namespace(lr=1)}, path)
    model = ResT(tiny, init_cfg=dict(type='Pretrained', checkpoint=str(path)))
    model.init_weights()
    assert_equal(model.stage3[0].attn.q.weight, state[f'{wrapper}stage3.0.attn.q.weight'])
    assert_equal(model.norm4.weight, state[f'{wrapper}norm.weight'])
    assert_equal(model.norm1.weight.detach(), torch.ones(8))


def test_load_pretrained_reports_every_key(tiny, tmp_path, caplog):
    model = ResT(tiny)
    state = published(model)
    del state['stage2.1.norm1.bias']
    state['stage4.0.attn.q.bias'] = torch.zeros(5)
    torch.save(state, tmp_path / 'file.pth')
    report = load_pretrained(model, str(tmp_path / 'file.pth'))
    assert set(report.missing) == {
        'stage2.1.norm1.bias',
        *(f'norm{i}.{leaf}' for i in (1, 2, 3) for leaf in ('weight', 'bias')),
    }
    assert report.unexpected == ['head.weight', 'head.bias']
    assert report.mismatched == ['stage4.0.attn.q.bias (file (5,), model (32,))']
    assert len(report.matched) == len(model.state_dict()) - 8
    assert not report.complete
    assert 'head.weight' in str(report) and 'stage2.1.norm1.bias' in str(report)


@pytest.mark.parametrize('complete', [True, False])
def test_load_pretrained_logs_the_report(tiny, tmp_path, monkeypatch, complete):
    state = ResT(tiny).state_dict()
    if not complete:
        del state['stage1.0.norm1.weight']
    torch.save(state, tmp_path / 'file.pth')
    logged = []
    monkeypatch.setattr(
        'mmrest.checkpoints.loading.print_log', lambda text, logger, level: logged.append((text, level))
    )
    report = load_pretrained(ResT(tiny), str(tmp_path / 'file.pth'))
    assert report.complete == complete
    assert logged == [(str(report), logging.INFO if complete else logging.WARNING)]


@pytest.mark.parametrize('other', [dict(embed_dims=(12, 20, 28, 40)), None])
def test_load_pretrained_other_model_raises_and_changes_nothing(tiny, tmp_path, other):
    state = nn.Linear(3, 3).state_dict() if other is None else ResT({**tiny, **other}).state_dict()
    torch.save(state, tmp_path / 'file.pth')
    model = ResT(tiny)
    before = {k: v.clone() for k, v in model.state_dict().items()}
    with pytest.raises(CheckpointError, match='does not fit the model'):
        load_pretrained(model, str(tmp_path / 'file.pth'))
    assert_equal(dict(model.state_dict()), before)


def detector(arch):
    """A model whose head is larger than its backbone."""
    model = nn.Module()
    model.backbone, model.head = ResT(arch), nn.Linear(300, 300)
    return model


def test_check_backbone_of_other_width_raises_though_the_head_fits(tiny):
    state = detector({**tiny, 'embed_dims': (16, 32, 48, 64)}).state_dict()
    report = compare_state_dict(detector(tiny), state)
    assert report.fraction > 0.5 and report.width_mismatches == ['backbone']
    with pytest.raises(CheckpointError, match='does not fit the model; another architecture'):
        report.check()
    assert not compare_state_dict(detector(tiny), detector(tiny).state_dict()).width_mismatches
    # Nor is a file without a backbone one of another architecture.
    head = {f'head.{key}': value for key, value in nn.Linear(300, 300).state_dict().items()}
    assert not compare_state_dict(detector(tiny), head).check().width_mismatches


def test_check_head_without_weights_raises_for_testing(tiny):
    """Training may begin so, and an auxiliary head does not matter."""
    model = detector(tiny)
    state = {key: value for key, value in model.state_dict().items() if key.startswith('backbone')}
    model.head = nn.Linear(3, 3)
    report = compare_state_dict(model, state)
    assert report.check().missing_modules == ['head']
    with pytest.raises(CheckpointError, match='has nothing for head of the model, which would keep random'):
        report.check(testing=True)
    model.auxiliary_head = model.head
    del model.head
    assert compare_state_dict(model, state).check(testing=True).missing_modules == ['auxiliary_head']


@pytest.mark.parametrize(
    'change, named',
    [
        (
            dict(cls=nn.Conv2d(4, 3, 1)),
            r'head.cls.weight \(file \(3, 4, 1, 1\), model \(5, 4, 1, 1\)\)',
        ),  # other classes
        (dict(norm=None), 'head.norm.weight, head.norm.bias, head.norm.running_mean'),
        (dict(cls=nn.Conv2d(4, 5, 1, bias=False)), 'head.cls.bias'),
    ],
)
def test_check_head_of_other_shape_raises_for_testing(tiny, change, named):
    """The metrics would be those of random values; training may begin so."""

    def build(**parts):
        model = detector(tiny)
        parts = dict(dict(cls=nn.Conv2d(4, 5, 1), norm=nn.BatchNorm2d(4)), **parts)
        model.head = nn.ModuleDict({name: part for name, part in parts.items() if part is not None})
        return model

    state = build(**change).state_dict()
    compare_state_dict(build(), state).check()
    with pytest.raises(CheckpointError, match=f'does not fill {named}.* would keep random values'):
        compare_state_dict(build(), state).check(testing=True)
    # A counter of batches and an auxiliary head do not change what is tested.
    model, state = build(), build().state_dict()
    del state['head.norm.num_batches_tracked']
    model.auxiliary_head = nn.ModuleList([nn.Linear(3, 3), nn.Linear(2, 2)])
    state['auxiliary_head.0.weight'] = torch.zeros(3, 3)
    compare_state_dict(model, state).check(testing=True)


@pytest.mark.parametrize('depths', [(1, 3, 1, 1), (1, 1, 1, 1)])
def test_check_backbone_of_other_depth_warns(tiny, monkeypatch, depths):
    logged = []
    monkeypatch.setattr(
        'mmrest.checkpoints.loading.print_log', lambda text, logger, level: logged.append((text, level))
    )
    compare_state_dict(detector(tiny), detector({**tiny, 'depths': depths}).state_dict()).check()
    ((text, level),) = logged
    assert f'another depth: backbone.stage2 has 2 blocks, in the file {depths[1]}' in text
    assert level == logging.WARNING


def test_load_pretrained_with_prefix_chooses_the_backbone(tiny, tmp_path):
    model = ResT(tiny)
    state = {**published(model, wrapper='teacher.net.'), **published(model, wrapper='student.net.')}
    torch.save(state, tmp_path / 'file.pth')
    with pytest.raises(CheckpointError, match='several backbones: student.net., teacher.net.'):
        load_pretrained(model, str(tmp_path / 'file.pth'))
    load_pretrained(model, str(tmp_path / 'file.pth'), prefix='student.net')
    assert_equal(model.stage1[0].attn.q.weight, state['student.net.stage1.0.attn.q.weight'])


def test_load_state_dict_subclass_reports_its_own_parameters_missing(tiny):
    class Own(ResT):
        def __init__(self, *args):
            super().__init__(*args)
            self.extra = nn.Parameter(torch.zeros(1))

    model = Own(tiny)
    assert next(iter(model.state_dict())) == 'extra'
    assert model.load_state_dict(published(ResT(tiny), wrapper='backbone.', head=False), strict=False).missing_keys == [
        'extra',
        *(f'norm{i}.{leaf}' for i in (1, 2, 3) for leaf in ('weight', 'bias')),
    ]


def test_load_pretrained_fewer_stages_reports_the_others_unexpected(tiny, tmp_path):
    torch.save(published(ResT(tiny)), tmp_path / 'file.pth')
    report = load_pretrained(ResT(tiny, out_indices=(0, 1)), str(tmp_path / 'file.pth'))
    assert {key.split('.')[0] for key in report.unexpected} == {
        'patch_embed_3',
        'patch_embed_4',
        'stage3',
        'stage4',
        'norm',
        'head',
    }


def test_load_state_dict_own_and_published_norms_are_kept_apart(tiny):
    model = ResT(tiny)
    state = {f'backbone.{key}': torch.ones_like(value) for key, value in model.state_dict().items()}
    state['backbone.norm.weight'] = torch.full((32,), 9.0)
    for items in (list(state.items()), list(state.items())[::-1]):
        model.load_state_dict(dict(items), strict=False)
        assert_equal(model.norm4.weight.detach(), torch.ones(32))


def test_unwrap_state_dict_keeps_module_versions():
    state = nn.BatchNorm2d(2).state_dict()
    assert unwrap_state_dict({'state_dict': state})._metadata == state._metadata


def test_load_state_dict_copied_model_translates_for_itself(tiny):
    original = ResT(tiny)
    copied = copy.deepcopy(original)
    state = published(original, head=False)
    original.depths = ()  # of which the name of the published norm is made
    assert copied.load_state_dict(state, strict=False).unexpected_keys == []


def test_load_checkpoint_published_norms_fill_a_detector(tiny, tmp_path):
    """A whole model's file, read by mmengine as at test time, without init_weights."""

    def detector():
        model = nn.Module()
        model.backbone, model.neck = ResT(tiny, out_norm='trunk'), nn.Linear(2, 2)
        return model

    state = published(ResT(tiny), norms=('norm1', 'norm2', 'norm3', 'norm'), wrapper='backbone.', head=False)
    state.update({f'neck.{k}': v for k, v in nn.Linear(2, 2).state_dict().items()})
    torch.save({'state_dict': state}, tmp_path / 'file.pth')
    model = detector()
    load_checkpoint(model, str(tmp_path / 'file.pth'), strict=True)
    assert_equal(model.backbone.norm4.bias, state['backbone.norm.bias'])
    assert_equal(model.backbone.norm2.bias, state['backbone.norm2.bias'])
    assert compare_state_dict(model, state).complete


def test_init_cfg_frozen_stages_load_and_stay_frozen(tiny, tmp_path):
    state = published(ResT(tiny))
    torch.save(state, tmp_path / 'file.pth')
    model = ResT(tiny, frozen_stages=2, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'file.pth')))
    model.init_weights()
    assert_equal(model.stage1[0].attn.q.weight, state['stage1.0.attn.q.weight'])
    assert [name for name, param in model.stage2.named_parameters() if param.requires_grad] == []


@pytest.mark.parametrize('content', [[1, 2], {'model': {'a': 3}}, {}, 'text'])
def test_unwrap_state_dict_without_state_dict_raises(content):
    with pytest.raises(CheckpointError, match='holds no state dict'):
        unwrap_state_dict(content)
