"""Published files in every layout are recognized and converted; what is none of them is refused and named."""

import re

import numpy as np
import published_files as files
import pytest
import torch
from helpers.compare import assert_equal
from published_files import LAYOUTS, TARGETS, make, save
from torch import nn

from mmrest import ResT, ResTv2
from mmrest.backbones.rest import ARCHS as REST
from mmrest.backbones.restv2 import ARCHS as RESTV2
from mmrest.checkpoints import CheckpointError, load_pretrained
from mmrest.converters.conversion import convert


@pytest.mark.parametrize('version, layout', LAYOUTS)
def test_convert_whole_file_uses_every_tensor(tiny, version, layout):
    """No tensor is left over or used twice, and values are kept."""
    state_dict = make(layout, version, tiny)
    conversion = convert({'model': state_dict})
    assert conversion.target == TARGETS[layout] and not conversion.left_out
    assert len(conversion.state_dict) == len(state_dict)
    old = sorted(value.double().sum().item() for value in state_dict.values())
    assert sorted(value.double().sum().item() for value in conversion.state_dict.values()) == pytest.approx(old)
    assert [key for key, value in conversion.state_dict.items() if not value.is_contiguous()] == []
    shared = {value.data_ptr() for value in state_dict.values() if value.numel()}
    assert not shared & {value.data_ptr() for value in conversion.state_dict.values() if value.numel()}


def backbone(version: str, arch: dict, stages=(1, 2, 3, 4), **kwargs) -> nn.Module:
    return {'rest': ResT, 'restv2': ResTv2}[version](arch, out_indices=tuple(i - 1 for i in stages), **kwargs)


def expected_backbone(version: str, layout: str, state_dict: dict) -> dict:
    """Keys of the package to tensors of the file, by the lists of names in the specification."""
    prefix = {'classification': '', 'mmseg-upernet': 'backbone.'}.get(layout, 'backbone.bottom_up.')
    norms = files.NORMS[version, layout.split('-')[0]]
    renamed = {f'{old}.{leaf}': f'norm{i}.{leaf}' for i, old in norms.items() for leaf in ('weight', 'bias')}
    heads = ('head.', 'norm.') if version == 'restv2' else ('head.',)
    return {
        renamed.get(key[len(prefix) :], key[len(prefix) :]): value
        for key, value in state_dict.items()
        if key.startswith(prefix) and not (layout == 'classification' and key.startswith(heads))
    }


@pytest.mark.parametrize('version, layout', LAYOUTS)
def test_convert_to_backbone_equals_loading_the_file(tiny, tmp_path, version, layout):
    """Converted or not, through init_cfg, and at test time."""
    state_dict = make(layout, version, tiny)
    expected = expected_backbone(version, layout, state_dict)
    conversion = convert(state_dict, 'backbone')
    assert_equal(dict(conversion.state_dict), expected)
    assert len(conversion.left_out) == len(state_dict) - len(expected)

    stages = conversion.contents.norms
    norms = dict(stages=stages) if stages else dict(out_norm='none')
    save(state_dict, tmp_path / 'file.pth', layout)
    model = backbone(version, tiny, **norms, init_cfg=dict(type='Pretrained', checkpoint=str(tmp_path / 'file.pth')))
    model.init_weights()
    own = model.state_dict()
    assert_equal(dict(own), expected)
    report = load_pretrained(backbone(version, tiny, **norms), str(tmp_path / 'file.pth'))
    assert report.complete and len(report.unexpected) == len(conversion.left_out)

    whole = nn.Module()
    whole.backbone = backbone(version, tiny, **norms)
    whole.load_state_dict(state_dict, strict=False)
    if layout != 'classification':  # whose keys do not say that they are a backbone's
        assert_equal(dict(whole.backbone.state_dict()), dict(own))


def test_convert_prefixed_classifier_is_recognized(tiny):
    """The authors' own script only puts `backbone.bottom_up.` before a classifier's keys."""
    for version in ('rest', 'restv2'):
        state_dict = make('classification', version, tiny)
        conversion = convert({f'backbone.bottom_up.{key}': value for key, value in state_dict.items()})
        assert conversion.target == 'classifier'
        assert_equal(conversion.state_dict['backbone.norm4.weight'], state_dict['norm.weight'])
        assert_equal(conversion.state_dict['head.fc.bias'], state_dict['head.bias'])


def test_conversion_report_names_layout_and_settings(tiny, tmp_path):
    state_dict = make('detectron2-retinanet', 'rest', REST['small'], device='meta')
    text = str(convert(state_dict))
    assert 'RetinaNet of detectron2 with rest_small (embed_dims 64 128 256 512' in text
    assert "out_norm='trunk'" in text and 'relu_before_extra_convs=True' in text and '80 classes' in text
    text = str(convert(state_dict, 'backbone'))
    assert 'not used: head (20), backbone (16)' in text and "out_norm='trunk'" in text
    text = str(convert(make('detectron2-mask_rcnn', 'restv2', RESTV2['tiny'], device='meta')))
    assert 'Mask R-CNN of detectron2 with restv2_tiny' in text and 'trunk' not in text
    assert 'numbers of heads leave no trace' in str(convert(make('mmseg-upernet', 'restv2', tiny)))
    assert 'averaged weights' in str(convert({'model': make('classification', 'restv2', tiny), 'model_ema': {}}))


def without(state_dict: dict, pattern: str) -> dict:
    kept = {key: value for key, value in state_dict.items() if not re.search(pattern, key)}
    assert len(kept) < len(state_dict)
    return kept


def more(state_dict: dict, key: str) -> dict:
    return {**state_dict, key: torch.zeros(1)}


REFUSED = {
    'another network': (lambda s: nn.Sequential(nn.Conv2d(3, 4, 3)).state_dict(), 'neither ResT nor ResTv2.*0 \\(2\\)'),
    'a stage is missing': (lambda s: without(s, r'stage3\.'), 'stage 3 of its rest .* is missing'),
    'the first block is missing': (lambda s: without(s, r'stage2\.0\.'), 'stage 2 .* or some of its blocks'),
    'a block far away': (lambda s: more(s, 'backbone.bottom_up.stage2.999999999999.x'), 'or some of its blocks'),
    'no channels': (lambda s: {**s, 'backbone.bottom_up.stage2.0.norm1.weight': torch.tensor(1.0)}, 'fit no network'),
    'heads that do not divide': (
        lambda s: {**s, 'backbone.bottom_up.stage2.0.attn.transform_conv.weight': torch.zeros(3, 3, 1, 1)},
        'fit no network: embed_dims .16. must be a multiple of num_heads .3.',
    ),
    'part of a block is missing': (
        lambda s: without(s, r'stage2\.0\.mlp'),
        'lacks 4 tensors, e.g. stage2.0.mlp.fc1.weight',
    ),
    'another stem': (lambda s: without(s, r'stem\.conv2'), 'lacks 1 tensors, e.g. stem.conv2.weight'),
    'another shape': (
        lambda s: {**s, 'backbone.bottom_up.stage1.0.attn.q.weight': torch.zeros(3, 3)},
        'has of another shape 1 tensors, e.g. stage1.0.attn.q.weight \\(3, 3\\) instead of \\(8, 8\\)',
    ),
    'unknown in the backbone': (lambda s: more(s, 'backbone.bottom_up.stage1.0.gamma'), 'has unknown 1 tensors'),
    'two backbones': (
        lambda s: {**s, **{f'teacher.{key}': value for key, value in s.items()}},
        'several backbones: rest under "backbone.bottom_up.", rest under "teacher.backbone',
    ),
    'a norm in the neck': (lambda s: more(s, 'backbone.fpn_lateral3.norm.weight'), 'has besides 1 tensors'),
    'no box head': (lambda s: without(s, 'box_head'), 'lacks 4 tensors, e.g. roi_heads.box_head.fc1.weight'),
    'no mask head': (lambda s: without(s, 'mask_head'), 'not recognized as a whole.*--to backbone'),
    'five anchors': (
        lambda s: {
            **s,
            'proposal_generator.rpn_head.objectness_logits.weight': torch.zeros(5, 16, 1, 1),
            'proposal_generator.rpn_head.objectness_logits.bias': torch.zeros(5),
        },
        "numbers of channels.*'rpn_head.rpn_cls': 5",
    ),
}


@pytest.mark.parametrize('case', REFUSED)
def test_convert_unrecognized_file_is_refused_and_named(tiny, case):
    change, message = REFUSED[case]
    with pytest.raises(CheckpointError, match=message) as error:
        convert(change(make('detectron2-mask_rcnn', 'rest', tiny)), source='some.pth')
    assert 'some.pth' in str(error.value)


def test_convert_incomplete_head_is_refused(tiny):
    with pytest.raises(CheckpointError, match='nothing for head.fc.bias'):
        convert(without(make('classification', 'restv2', tiny), 'head.bias'))
    with pytest.raises(CheckpointError, match='nothing for backbone.norm4'):
        convert(without(make('classification', 'rest', tiny), '^norm'))
    with pytest.raises(CheckpointError, match='UPerNet .* lacks 10 tensors'):
        convert(without(make('mmseg-upernet', 'restv2', tiny), r'psp_modules\.[12]'))
    with pytest.raises(CheckpointError, match='UPerNet .* has besides 1 tensors, e.g. decode_head.extra'):
        convert(more(make('mmseg-upernet', 'restv2', tiny), 'decode_head.extra'))
    with pytest.raises(CheckpointError, match=r'upernet .* after the stages \(1, 2, 4\), they after'):
        convert(without(make('mmseg-upernet', 'restv2', tiny), r'backbone\.norm_3\.'))
    state_dict = make('detectron2-retinanet', 'rest', tiny)
    first_norm = {f'backbone.bottom_up.norm1.{leaf}': torch.ones(8) for leaf in ('weight', 'bias')}
    with pytest.raises(CheckpointError, match=r'retinanet .* after the stages \(1, 2, 3, 4\), they after \(2, 3, 4\)'):
        convert({**state_dict, **first_norm})
    assert convert({**state_dict, **first_norm}, 'backbone').contents.norms == (1, 2, 3, 4)
    three_anchors = {'head.bbox_pred.weight': torch.zeros(12, 16, 3, 3), 'head.bbox_pred.bias': torch.zeros(12)}
    with pytest.raises(CheckpointError, match="numbers of channels.*'bbox_head.retina_reg': 12"):
        convert({**state_dict, **three_anchors})


@pytest.mark.parametrize('to', ['retinanet', 'upernet', 'classifier'])
def test_convert_to_another_target_is_refused(tiny, to):
    with pytest.raises(CheckpointError, match=f'Mask R-CNN .* converted to mask_rcnn or backbone, not to {to}'):
        convert(make('detectron2-mask_rcnn', 'rest', tiny), to)
    assert convert(make('detectron2-mask_rcnn', 'rest', tiny), 'mask_rcnn').target == 'mask_rcnn'


def test_convert_unknown_target_raises(tiny):
    with pytest.raises(ValueError, match='Unknown target'):
        convert(make('classification', 'rest', tiny), 'detector')


def test_published_shapes_equal_external_reference_values(external, monkeypatch):
    """The rule and the lists of names restated here are the ones behind ``golden/``."""
    monkeypatch.syspath_prepend(str(external / 'golden'))
    golden = pytest.importorskip('golden')
    for path in sorted((external / 'golden').glob('*.json')):
        values, arrays = golden.load(path)
        version, name = values['variant'].split('_')
        arch = {'rest': REST, 'restv2': RESTV2}[version][name]
        make_shapes = files.classifier_shapes if values['layout'] == 'classification' else files.backbone_shapes
        shapes = make_shapes(version, arch)
        assert shapes == {key: tuple(array.shape) for key, array in arrays.items()}
        for key in list(arrays)[::7]:
            np.testing.assert_array_equal(files.weight(values['seed'], key, shapes[key]), arrays[key], err_msg=key)
