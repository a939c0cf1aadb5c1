"""Boxes of an exported detector after non-maximum suppression, against the model's own."""

import copy

import numpy as np
import pytest
import torch
from helpers.docs_blocks import blocks_for
from helpers.small_exports import operator_names
from mmengine.config import Config

from mmrest.apis import init_model
from mmrest.export import apply_nms, read_metadata

RETINANET = """
_base_ = '{repo}/configs/retinanet_rest_lite_fpn_shapes.py'
model = dict(
    backbone=dict(arch=dict(_delete_=True, embed_dims=(16, ), depths=(1, ), num_heads=(2, ), sr_ratios=(4, )),
                  out_indices=(0, )),
    neck=dict(in_channels=[16], out_channels=16, num_outs=2),
    bbox_head=dict(in_channels=16, feat_channels=16, stacked_convs=1,
                   anchor_generator=dict(strides=[4, 8], scales_per_octave=1, ratios=[0.5, 2.0])),
    test_cfg=dict(score_thr=0.0, nms_pre=20, max_per_img=5))
"""


@pytest.fixture(scope='module')
def retinanet(repo, tmp_path_factory) -> str:
    """Config of a RetinaNet on one stage of ResT."""
    pytest.importorskip('mmdet')
    pytest.importorskip('mmcv._ext')
    path = tmp_path_factory.mktemp('retinanet') / 'retinanet.py'
    path.write_text(RETINANET.format(repo=repo))
    return str(path)


def test_apply_nms_to_exported_detector_equals_predict(onnx, run, retinanet, shapes, tmp_path, capsys, monkeypatch):
    checkpoint = tmp_path / 'weights.pth'
    loaded = init_model(retinanet, 'none')
    torch.save(loaded.model.state_dict(), checkpoint)
    out = tmp_path / 'new' / 'retinanet.onnx'
    run('export_onnx', retinanet, '--checkpoint', checkpoint, '--out', out)
    assert 'Largest differences' in capsys.readouterr().out
    assert [path.name for path in out.parent.iterdir()] == [out.name]
    operator_names(onnx, out)
    metadata = read_metadata(out)
    known = dict(task='detection', classes=['disc', 'square', 'triangle', 'star'], mean=[127.5] * 3, std=[64.0] * 3)
    assert {key: metadata[key] for key in known} == known and metadata['channel_order'] == 'RGB'
    assert set(metadata['outputs']) == {'boxes', 'scores', 'levels'}

    # An image that the pipeline enlarges and pads.
    import cv2
    import onnxruntime

    image = cv2.imread(str(shapes / 'images/val/000000.png'))[:50, :61]
    cv2.imwrite(str(tmp_path / 'cut.png'), image)
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

    # The example of docs/export.md, from the file of the image to the same boxes.
    (block,) = blocks_for('tests/test_export/test_nms.py', 'docs/export.md')
    (scale,) = (
        step['scale'] for step in Config.fromfile(retinanet).test_dataloader.dataset.pipeline if 'scale' in step
    )
    assert block.text.count('(1333, 800)') == 1
    monkeypatch.chdir(out.parent)
    (tmp_path / 'cut.png').rename('image.jpg')  # OpenCV reads what is in a file; JPEG would change it
    names: dict = {}
    exec(compile(block.text.replace('(1333, 800)', str(tuple(scale))), str(block), 'exec'), names)
    with torch.no_grad():
        expected = loaded.model.predict(prepared['inputs'], [sample], True)[0].pred_instances
    np.testing.assert_allclose(names['images'], prepared['inputs'], atol=1e-5)
    assert names['found'][0]['labels'].tolist() == expected.labels.tolist()
    torch.testing.assert_close(names['found'][0]['bboxes'], expected.bboxes, rtol=1e-4, atol=1e-3)
    assert len(capsys.readouterr().out.splitlines()) == 5
