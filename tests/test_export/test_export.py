"""Exported files compute what the models do, at sizes and batches that the graph was not recorded with."""

import copy
import importlib.util
import json
import re
import runpy
import sys
from pathlib import Path

import pytest
import torch

from mmrest.apis import init_model
from mmrest.engine import UsageError
from mmrest.export import apply_nms, backbone_target, compare, config_target, export, read_metadata

TOOLS = Path(__file__).resolve().parents[2] / 'tools'
# A graph of symbolic sizes takes long to record, the longer the deeper: one or two stages are what most tests run.
ONE = dict(arch=dict(embed_dims=(16,), depths=(1,), num_heads=(2,), sr_ratios=(4,)), out_indices=(0,))
SMALL = dict(arch=dict(embed_dims=(8, 16), depths=(1, 1), num_heads=(1, 2), sr_ratios=(4, 2)), out_indices=(0, 1))
WHOLE = dict(
    arch=dict(embed_dims=(8, 16, 24, 32), depths=(1, 2, 1, 1), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1)),
    out_indices=(0, 1, 2, 3),
)
# Sides that no stage divides evenly, a map of one pixel, and one much longer than wide.
SHAPES = ((97, 131), (33, 64), (64, 300))
RETINANET = """
_base_ = '{repo}/configs/retinanet_rest_lite_fpn_shapes.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dims=(16, ), depths=(1, ), num_heads=(2, ), sr_ratios=(4, )),
                  out_indices=(0, )),
    neck=dict(in_channels=[16], out_channels=16, num_outs=2),
    bbox_head=dict(in_channels=16, feat_channels=16, stacked_convs=1, anchor_generator=dict(strides=[4, 8])),
    test_cfg=dict(score_thr=0.0, nms_pre=20, max_per_img=5))
"""
UPERNET = """
_base_ = '{repo}/configs/upernet_rest_lite_shapes.py'
head = dict(channels=8, norm_cfg=dict(_delete_=True, type='GN', num_groups=4))
model = dict(
    backbone=dict(_delete_=True, type='ResTv2', out_indices=(0, 1),
                  arch=dict(embed_dims=(8, 16), depths=(1, 1), num_heads=(1, 2), sr_ratios=(4, 2))),
    decode_head=dict(in_channels=[8, 16], in_index=[0, 1], pool_scales=(1, 2, 3), **head),
    auxiliary_head=None)
"""


@pytest.fixture
def onnx():
    """ONNX's package; tests are skipped where it, its runtime or the converter are missing."""
    pytest.importorskip('onnxscript')
    pytest.importorskip('onnxruntime')
    return pytest.importorskip('onnx')


@pytest.fixture
def run(monkeypatch, tmp_path):
    """Run tools/export_onnx.py in this process."""

    def run_tool(*args):
        spec = importlib.util.spec_from_file_location('export_onnx', TOOLS / 'export_onnx.py')
        tool = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(tool)
        monkeypatch.chdir(tmp_path)
        monkeypatch.setattr(sys, 'argv', ['export_onnx', *map(str, args)])
        tool.main()

    return run_tool


def write(text, name, repo, tmp_path_factory):
    pytest.importorskip('mmcv._ext')
    path = tmp_path_factory.mktemp(name) / f'{name}.py'
    path.write_text(text.format(repo=repo))
    return str(path)


@pytest.fixture(scope='module')
def retinanet(repo, tmp_path_factory):
    """Config of a RetinaNet on two stages of ResT."""
    pytest.importorskip('mmdet')
    return write(RETINANET, 'retinanet', repo, tmp_path_factory)


@pytest.fixture(scope='module')
def upernet(repo, tmp_path_factory):
    """Config of a UPerNet on two stages of ResTv2."""
    pytest.importorskip('mmseg')
    return write(UPERNET, 'upernet', repo, tmp_path_factory)


def stir(target):
    """Weights and statistics that are not those of the start, at which some layers do nothing."""
    for tensor in target.original.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.1 * torch.rand_like(tensor))
    return target


def worst(differences):
    return max(found.file for found in differences.values())


def operators(onnx, path):
    """Names of a graph's operators; all of them ONNX's own."""
    graph = onnx.load(str(path)).graph
    assert {node.domain for node in graph.node} <= {'', 'ai.onnx'}
    return {node.op_type for node in graph.node}


@pytest.mark.parametrize(
    'backbone, options',
    [
        ('ResTv2', ONE),
        pytest.param('ResT', ONE, marks=pytest.mark.slow),
        pytest.param(
            'ResTAblation',
            dict(SMALL, position='le', stem='pvt', reduction='avgpool', head_interaction='conv'),
            marks=pytest.mark.slow,
        ),
        pytest.param(
            'ResTv2Ablation',
            dict(SMALL, head_mixing=True, upsample_strategy='bilinear', upsample_target='x'),
            marks=pytest.mark.slow,
        ),
        pytest.param('ResT', WHOLE, marks=pytest.mark.slow),
        pytest.param('ResTv2', WHOLE, marks=pytest.mark.slow),
    ],
)
def test_program_of_a_backbone(tmp_path, backbone, options):
    target = stir(backbone_target(backbone, options=options))
    export(target, tmp_path / 'backbone.pt2', verify=False)
    program = torch.export.load(tmp_path / 'backbone.pt2')
    assert 'mmrest' not in str(program.graph)
    differences = compare(target, tmp_path / 'backbone.pt2', SHAPES[::2], (1, 3))
    assert list(differences) == [f'stage{i + 1}' for i in target.original.backbone.out_indices]
    assert worst(differences) < 1e-4


@pytest.mark.slow
@pytest.mark.parametrize(
    'backbone, options',
    [
        ('ResT', WHOLE),
        ('ResTv2', dict(WHOLE, out_norm='trunk')),
        ('ResTAblation', dict(position='le', stem='resnet', reduction='maxpool')),
        ('ResTAblation', dict(position='gl', stem='pvt', attention='msa')),
        ('ResTAblation', dict(position='gl_dw', reduction='avgpool', head_interaction='none')),
        ('ResTAblation', dict(head_interaction='conv')),
        ('ResTv2Ablation', dict(upsample_strategy='nearest', upsample_target='k')),
        ('ResTv2Ablation', dict(upsample_strategy='bilinear', upsample_target='q', head_mixing=True)),
    ],
)
def test_graph_of_a_backbone(onnx, tmp_path, backbone, options):
    target = stir(backbone_target(backbone, options=SMALL | options))
    path = tmp_path / 'backbone.onnx'
    export(target, path, verify=False)
    assert 'Softmax' in operators(onnx, path)
    assert worst(compare(target, path, (*SHAPES, (20, 40)), (1, 3))) < 1e-4
    check_dims(onnx, path, target)


def check_dims(onnx, path, target):
    graph = onnx.load(str(path)).graph
    dims = [dim.dim_param or dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
    assert dims == ['batch', 3, 'height', 'width']
    assert [out.name for out in graph.output] == list(target.outputs)


def test_boxes_of_a_detector(onnx, run, retinanet, shapes, tmp_path, capsys):
    checkpoint = tmp_path / 'weights.pth'
    torch.save(init_model(retinanet, 'none').model.state_dict(), checkpoint)
    out = tmp_path / 'new' / 'retinanet.onnx'
    run(retinanet, '--checkpoint', checkpoint, '--out', out)
    assert 'Largest differences' in capsys.readouterr().out
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    operators(onnx, out)
    metadata = read_metadata(out)
    assert metadata['task'] == 'detection' and metadata['classes'] == ['disc', 'square', 'triangle', 'star']
    assert metadata['mean'] == [127.5] * 3 and metadata['std'] == [64.0] * 3 and metadata['channel_order'] == 'RGB'
    assert set(metadata['outputs']) == {'boxes', 'scores', 'levels'}

    # An image that the pipeline enlarges and pads.
    import cv2
    import onnxruntime

    image = cv2.imread(str(shapes / 'images/val/000000.png'))[:50, :61]
    cv2.imwrite(str(tmp_path / 'cut.png'), image)
    loaded = init_model(retinanet, str(checkpoint))
    prepared = loaded.prepare(tmp_path / 'cut.png')
    sample = prepared['data_samples'][0]
    session = onnxruntime.InferenceSession(str(out), providers=['CPUExecutionProvider'])
    boxes, scores, levels = session.run(['boxes', 'scores', 'levels'], dict(images=prepared['inputs'].numpy()))
    assert boxes.shape == (*scores.shape[:2], 4) and scores.shape[2] == 4 and levels.shape == scores.shape[1:2]
    assert sample.img_shape != sample.batch_input_shape
    for rescale in (True, False):
        with torch.no_grad():
            expected = loaded.model.predict(prepared['inputs'], [copy.deepcopy(sample)], rescale)[0].pred_instances
        found = apply_nms(
            boxes, scores, levels, metadata['test_cfg'], [sample.img_shape], [sample.scale_factor] if rescale else None
        )[0]
        assert len(expected) == len(found['labels']) == 5
        assert found['labels'].tolist() == expected.labels.tolist()
        torch.testing.assert_close(found['bboxes'], expected.bboxes, rtol=1e-4, atol=1e-3)
        torch.testing.assert_close(found['scores'], expected.scores, rtol=1e-4, atol=1e-5)


def test_what_is_exported_of_a_segmentor_is_what_it_predicts(upernet):
    target = stir(config_target(upernet))
    images = torch.randn(2, 3, 97, 131)
    with torch.no_grad():
        logits, labels = target.original(images)
        rewritten, _ = target.exportable()(images)
        samples = target.original.segmentor.predict(images)
    torch.testing.assert_close(logits, torch.stack([sample.seg_logits.data for sample in samples]))
    torch.testing.assert_close(rewritten, logits, rtol=1e-4, atol=1e-5)
    assert torch.equal(labels, torch.cat([sample.pred_sem_seg.data for sample in samples]))


@pytest.mark.slow
def test_logits_of_a_segmentor(onnx, upernet, tmp_path):
    target = stir(config_target(upernet))
    path = tmp_path / 'upernet.onnx'
    export(target, path, verify=False)
    assert 'Resize' in operators(onnx, path)
    check_dims(onnx, path, target)
    differences = compare(target, path, SHAPES, (1, 2))
    assert differences['logits'].file < 1e-4 and differences['labels'].file < 1e-3
    metadata = read_metadata(path)
    assert metadata['task'] == 'segmentation' and metadata['classes'][0] == 'background'


def test_outputs_of_a_segmentor(upernet):
    target = config_target(upernet, outputs=['labels'])
    assert list(target.outputs) == ['labels']
    (labels,) = target.original(torch.randn(1, 3, 64, 64))
    assert labels.shape == (1, 64, 64) and labels.dtype == torch.int64
    with pytest.raises(UsageError, match='has the outputs logits and labels; got boxes'):
        config_target(upernet, outputs=['boxes'])


@pytest.mark.parametrize(
    'style', ['win', pytest.param('cwin', marks=pytest.mark.slow), pytest.param('hwin', marks=pytest.mark.slow)]
)
def test_windows_are_exported_at_one_size(tmp_path, style):
    options = dict(ONE, style=style, window_sizes=(8,), hwin_global_stages=())
    target = stir(backbone_target('ResTv2', options=options))
    with pytest.raises(UsageError, match="windows.*--shape H W, or use style='global'"):
        export(target, tmp_path / 'backbone.pt2')
    assert not list(tmp_path.iterdir())
    differences = export(target, tmp_path / 'backbone.pt2', static_shape=(75, 141))
    assert len(differences) == 1 and worst(differences) < 1e-5


def test_a_wrong_graph_is_not_kept(tmp_path, monkeypatch):
    target, other = backbone_target('ResT', options=ONE), backbone_target('ResT', options=ONE)
    stir(other)
    monkeypatch.setattr(target, 'exportable', other.exportable, raising=False)
    with pytest.raises(UsageError, match='(?s)differs from the model.*differs in stage1 by'):
        export(target, tmp_path / 'backbone.pt2')
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
@pytest.mark.parametrize('backbone', ['ResT', 'ResTv2'])
def test_detectors_on_whole_backbones(onnx, configs, tmp_path, backbone):
    target = stir(config_target(str(configs[backbone])))
    differences = export(target, tmp_path / 'retinanet.onnx')
    assert set(differences) == {'boxes', 'scores', 'levels'} and differences['levels'].file == 0
    assert worst(compare(target, tmp_path / 'retinanet.onnx', SHAPES, (1, 2))) < 1e-4


@pytest.mark.slow
def test_a_segmentor_on_a_whole_backbone(onnx, repo, tmp_path):
    pytest.importorskip('mmseg')
    target = stir(config_target(str(repo / 'configs/upernet_rest_lite_shapes.py')))
    assert set(export(target, tmp_path / 'upernet.onnx')) == {'logits', 'labels'}


def test_the_model_itself_is_left_alone(upernet):
    target = config_target(upernet)
    before = str(target.original)
    target.exportable()
    assert str(target.original) == before and 'AveragingPool2d' not in before


@pytest.mark.parametrize(
    'args, message',
    [
        ([], 'Give either a config or --backbone'),
        (['--backbone', 'ResT', '--arch', 'huge'], "Unknown arch 'huge'"),
        (['--backbone', 'ResT', '--arch', 'lite', '--checkpoint', 'none.pth'], 'There is no checkpoint file none.pth'),
        (
            ['--backbone', 'ResT', '--arch', 'lite', '--checkpoint', '{checkpoint}'],
            'The checkpoint does not fit the model',
        ),
        (['--backbone', 'ResT', '--arch', 'lite', '--out', 'file.pb'], 'must end in .onnx or .pt2'),
        (['{config}', '--checkpoint', '{zip}'], 'other.zip is cut off'),
        (['{mask_rcnn}'], 'is a MaskRCNN.*--part backbone'),
    ],
)
def test_mistakes_are_one_message(run, repo, configs, checkpoint, tmp_path, capsys, args, message):
    (tmp_path / 'other.zip').write_bytes(b'PK\x03\x04 and nothing more')
    paths = dict(
        config=configs['ResT'],
        checkpoint=checkpoint,
        zip=tmp_path / 'other.zip',
        mask_rcnn=repo / 'configs/mask_rcnn_rest_lite_fpn_shapes.py',
    )
    with pytest.raises(SystemExit) as exit_status:
        run(*(arg.format(**paths) for arg in args))
    assert exit_status.value.code == 2
    assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.rglob('*.onnx'))


def test_missing_packages_are_named(tmp_path, monkeypatch):
    find = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, 'find_spec', lambda name: None if name == 'onnxruntime' else find(name))
    with pytest.raises(UsageError, match=r'needs onnxruntime.*not installed.*pip install onnx .*\[export\]'):
        export(backbone_target('ResT', options=SMALL), tmp_path / 'backbone.onnx')
    assert not list(tmp_path.iterdir())


def test_metadata_are_json_where_they_have_structure(configs):
    target = config_target(str(configs['ResTv2']), part='backbone')
    assert target.name == 'restv2 (initial weights)'
    assert target.task == 'backbone' and json.loads(target.metadata['mean']) == [127.5] * 3
    assert [meaning.split('stride ')[1] for meaning in target.outputs.values()] == ['8', '16', '32']


@pytest.mark.parametrize(
    'name, opset, message',
    [('x.onnx', 5, '--opset 5: choose from 18'), ('x.onnx', 999, 'choose from'), ('x.pt2', 18, 'is for .onnx files')],
)
def test_versions_that_cannot_be_written(tmp_path, name, opset, message):
    pytest.importorskip('onnx')
    with pytest.raises(UsageError, match=message):
        export(backbone_target('ResT', options=ONE), tmp_path / 'new' / name, opset=opset)
    assert not (tmp_path / 'new').exists()


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--backbone', 'ResT', '--arch', 'lite', '--part', 'backbone'], '--part does nothing with --backbone'),
        (['configs/retinanet_rest_lite_fpn_shapes.py', '--arch', 'large'], '--arch does nothing with a config'),
    ],
)
def test_options_without_an_effect(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, 'argv', ['export_onnx.py', *arguments])
    with pytest.raises(SystemExit):
        runpy.run_path(str(TOOLS / 'export_onnx.py'), run_name='__main__')
    assert message in capsys.readouterr().err
