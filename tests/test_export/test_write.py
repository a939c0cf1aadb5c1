"""Exported files against their models, at sizes and batches that the graph was not recorded with."""

import importlib.util

import pytest
import torch
from helpers.small_exports import (
    FOUR_STAGES,
    ONE_STAGE,
    SHAPES,
    TWO_STAGES,
    check_dynamic_axes,
    max_error,
    operator_names,
    randomize_weights,
)

from mmrest.engine import UsageError
from mmrest.export import backbone_target, compare, config_target, export, read_metadata


@pytest.mark.parametrize(
    'backbone, options',
    [
        ('ResTv2', ONE_STAGE),
        pytest.param('ResT', ONE_STAGE, marks=pytest.mark.slow),
        pytest.param(
            'ResTAblation',
            dict(TWO_STAGES, position='le', stem='pvt', reduction='avgpool', head_interaction='conv'),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            'ResTv2Ablation',
            dict(TWO_STAGES, head_mixing=True, upsample_strategy='bilinear', upsample_target='x'),
            marks=pytest.mark.slow,
        ),
        pytest.param('ResT', FOUR_STAGES, marks=pytest.mark.slow),
        pytest.param('ResTv2', FOUR_STAGES, marks=pytest.mark.slow),
    ],
    ids=['ResTv2', 'ResT', 'ResTAblation', 'ResTv2Ablation', 'ResT-four_stages', 'ResTv2-four_stages'],
)
def test_exported_program_of_a_backbone_equals_the_model(tmp_path, backbone, options):
    target = randomize_weights(backbone_target(backbone, options=options))
    export(target, tmp_path / 'backbone.pt2', verify=False)
    program = torch.export.load(tmp_path / 'backbone.pt2')
    assert 'mmrest' not in str(program.graph)
    differences = compare(target, tmp_path / 'backbone.pt2', SHAPES[::2], (1, 3))
    assert list(differences) == [f'stage{i + 1}' for i in target.original.backbone.out_indices]
    assert max_error(differences) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    'backbone, options',
    [
        pytest.param('ResT', FOUR_STAGES, id='ResT'),
        pytest.param('ResTv2', dict(FOUR_STAGES, out_norm='trunk'), id='ResTv2-out_norm=trunk'),
        ('ResTAblation', dict(position='le', stem='resnet', reduction='maxpool')),
        ('ResTAblation', dict(position='gl', stem='pvt', attention='msa')),
        ('ResTAblation', dict(position='gl_dw', reduction='avgpool', head_interaction='none')),
        ('ResTAblation', dict(head_interaction='conv')),
        ('ResTv2Ablation', dict(upsample_strategy='nearest', upsample_target='k')),
        ('ResTv2Ablation', dict(upsample_strategy='bilinear', upsample_target='q', head_mixing=True)),
    ],
)
def test_onnx_graph_of_a_backbone_equals_the_model(onnx, tmp_path, backbone, options):
    target = randomize_weights(backbone_target(backbone, options=TWO_STAGES | options))
    path = tmp_path / 'backbone.onnx'
    export(target, path, verify=False)
    assert 'Softmax' in operator_names(onnx, path)
    assert max_error(compare(target, path, (*SHAPES, (20, 40)), (1, 3))) < 1e-4
    check_dynamic_axes(onnx, path, target)


@pytest.mark.slow
def test_onnx_graph_of_a_segmentor_equals_the_model(onnx, upernet, tmp_path):
    target = randomize_weights(config_target(upernet))
    path = tmp_path / 'upernet.onnx'
    export(target, path, verify=False)
    assert 'Resize' in operator_names(onnx, path)
    check_dynamic_axes(onnx, path, target)
    differences = compare(target, path, SHAPES, (1, 2))
    assert differences['logits'].file < 1e-4 and differences['labels'].file < 1e-3
    metadata = read_metadata(path)
    assert metadata['task'] == 'segmentation' and metadata['classes'][0] == 'background'


@pytest.mark.parametrize(
    'style', ['win', pytest.param('cwin', marks=pytest.mark.slow), pytest.param('hwin', marks=pytest.mark.slow)]
)
def test_export_of_windows_needs_a_static_shape(tmp_path, style):
    options = dict(ONE_STAGE, style=style, window_sizes=(8,), hwin_global_stages=())
    target = randomize_weights(backbone_target('ResTv2', options=options))
    with pytest.raises(UsageError, match="windows.*--shape H W, or use style='global'"):
        export(target, tmp_path / 'backbone.pt2')
    assert not list(tmp_path.iterdir())
    differences = export(target, tmp_path / 'backbone.pt2', static_shape=(75, 141))
    assert len(differences) == 1 and max_error(differences) < 1e-5


@pytest.mark.slow
@pytest.mark.parametrize('backbone', ['ResT', 'ResTv2'])
def test_onnx_graph_of_a_detector_equals_the_model(onnx, configs, tmp_path, backbone):
    target = randomize_weights(config_target(str(configs[backbone])))
    differences = export(target, tmp_path / 'retinanet.onnx')
    assert set(differences) == {'boxes', 'scores', 'levels'} and differences['levels'].file == 0
    assert max_error(compare(target, tmp_path / 'retinanet.onnx', SHAPES, (1, 2))) < 1e-4


@pytest.mark.slow
def test_onnx_graph_of_the_shapes_segmentor_is_verified(onnx, repo, tmp_path):
    pytest.importorskip('mmseg')
    target = randomize_weights(config_target(str(repo / 'configs/upernet_rest_lite_shapes.py')))
    assert set(export(target, tmp_path / 'upernet.onnx')) == {'logits', 'labels'}


def test_export_without_its_packages_names_the_install_command(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == 'onnxruntime' else find(name))
    with pytest.raises(UsageError, match=r'needs onnxruntime.*not installed.*pip install onnx .*\[export\]'):
        export(backbone_target('ResT', options=TWO_STAGES), tmp_path / 'backbone.onnx')
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    'name, opset, message',
    [('x.onnx', 5, '--opset 5: choose from 18'), ('x.onnx', 999, 'choose from'), ('x.pt2', 18, 'is for .onnx files')],
)
def test_export_with_unknown_opset_is_refused(tmp_path, name, opset, message):
    pytest.importorskip('onnx')
    with pytest.raises(UsageError, match=message):
        export(backbone_target('ResT', options=ONE_STAGE), tmp_path / 'new' / name, opset=opset)
    assert not (tmp_path / 'new').exists()
