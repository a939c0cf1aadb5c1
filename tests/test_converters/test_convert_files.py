"""From file to file: what is written, what is refused, and the tool that does it."""

import hashlib
import os
import re
import sys

import published_files as files
import pytest
import torch
from conftest import run_process
from mmengine.runner.checkpoint import CheckpointLoader
from published_files import make, save
from torch import nn

from mmrest.checkpoints import CheckpointError, load_file
from mmrest.converters.conversion import convert_file
from mmrest.datasets import CLASSES


@pytest.fixture
def source(tiny, tmp_path):
    save(make('detectron2-retinanet', 'rest', tiny), tmp_path / 'theirs.pth', 'detectron2-retinanet')
    return tmp_path / 'theirs.pth'


@pytest.mark.matrix
def test_a_written_file_is_read_by_all(source, tmp_path):
    conversion = convert_file(source, tmp_path / 'ours.pth')
    digest = hashlib.sha256(source.read_bytes()).hexdigest()
    assert conversion.sha256 == digest and digest in str(conversion)
    for loaded in (
        load_file(tmp_path / 'ours.pth'),
        torch.load(tmp_path / 'ours.pth', weights_only=True),
        CheckpointLoader.load_checkpoint(str(tmp_path / 'ours.pth'), map_location='cpu'),
    ):
        assert loaded['meta'] == dict(
            conversion.meta,
            source='theirs.pth',
            source_sha256=digest,
            layout='detectron2-retinanet',
            arch='rest_custom',
            target='retinanet',
        )
        assert loaded['meta']['settings']['embed_dims'] == [8, 16, 24, 32]
        assert loaded['state_dict'].keys() == conversion.state_dict.keys()
        assert all(torch.equal(value, conversion.state_dict[key]) for key, value in loaded['state_dict'].items())
    assert sorted(path.name for path in tmp_path.iterdir()) == ['ours.pth', 'theirs.pth']
    assert oct((tmp_path / 'ours.pth').stat().st_mode) == oct(source.stat().st_mode)


def test_destinations_that_are_refused(source, tmp_path):
    content = source.read_bytes()
    (tmp_path / 'link.pth').symlink_to(source)
    for name in ('theirs.pth', 'link.pth', './theirs.pth'):
        with pytest.raises(CheckpointError, match='is the file to convert itself'):
            convert_file(source, f'{tmp_path}/{name}', overwrite=True)
    with pytest.raises(CheckpointError, match='no such folder'):
        convert_file(source, tmp_path / 'none' / 'ours.pth')
    with pytest.raises(CheckpointError, match='is a folder'):
        convert_file(source, tmp_path)
    (tmp_path / 'ours.pth').write_text('precious')
    with pytest.raises(CheckpointError, match='exists already.*--overwrite'):
        convert_file(source, tmp_path / 'ours.pth')
    assert (tmp_path / 'ours.pth').read_text() == 'precious' and source.read_bytes() == content
    with open(tmp_path / 'ours.pth') as reader:
        convert_file(source, tmp_path / 'ours.pth', overwrite=True)
        assert reader.read() == 'precious'  # replaced, not written over
    assert load_file(tmp_path / 'ours.pth')['meta']['target'] == 'retinanet'


def test_a_failed_write_leaves_the_destination(source, tmp_path, monkeypatch):
    (tmp_path / 'ours.pth').write_text('precious')

    def fail(checkpoint, file):
        file.write(b'half')
        raise OSError('No space left on device')

    monkeypatch.setattr('mmrest.converters.conversion.torch.save', fail)
    with pytest.raises(CheckpointError, match='could not be written: No space left'):
        convert_file(source, tmp_path / 'ours.pth', overwrite=True)
    assert (tmp_path / 'ours.pth').read_text() == 'precious'
    assert sorted(path.name for path in tmp_path.iterdir()) == ['ours.pth', 'theirs.pth']


class Runs:
    """A pickle of this calls ``os.system``."""

    def __init__(self, command):
        self.command = command

    def __reduce__(self):
        return os.system, (self.command,)


def break_file(kind: str, path) -> None:
    content = path.read_bytes()
    if kind == 'malicious':
        torch.save({'model': load_file(path)['model'], 'x': Runs(f'touch {path.parent / "it_ran"}')}, path)
    elif kind == 'another network':
        torch.save(nn.Sequential(nn.Conv2d(3, 4, 3)).state_dict(), path)
    elif kind == 'missing':
        path.unlink()
    else:
        path.write_bytes(
            {
                'truncated': content[: len(content) // 2],
                'empty': b'',
                'no checkpoint': b'something else',
                'a web page': b'<!DOCTYPE html>log in',
            }[kind]
        )


BROKEN = {
    'truncated': 'cut off',
    'empty': 'is empty',
    'a web page': 'web page',
    'no checkpoint': 'not a PyTorch checkpoint',
    'missing': 'no checkpoint file',
    'another network': 'neither ResT nor ResTv2',
    'malicious': 'refused: loading it would run code.*system',
}


@pytest.mark.parametrize('kind', BROKEN)
@pytest.mark.parametrize('exists', [True, False])
def test_broken_files(source, tmp_path, kind, exists):
    break_file(kind, source)
    if exists:
        (tmp_path / 'ours.pth').write_text('precious')
    before = sorted(path.name for path in tmp_path.iterdir())
    with pytest.raises(CheckpointError, match=BROKEN[kind]):
        convert_file(source, tmp_path / 'ours.pth', overwrite=True)
    assert sorted(path.name for path in tmp_path.iterdir()) == before  # nor did anything run
    assert not exists or (tmp_path / 'ours.pth').read_text() == 'precious'


def test_tool(repo, source, tmp_path):
    tool = [sys.executable, repo / 'tools' / 'convert_checkpoint.py']
    out = run_process([*tool, 'theirs.pth', 'ours.pth'], tmp_path)
    assert 'theirs.pth is a RetinaNet of detectron2 with rest_custom' in out and out.endswith('written to ours.pth\n')
    assert load_file(tmp_path / 'ours.pth')['meta']['target'] == 'retinanet'
    content = (tmp_path / 'ours.pth').read_bytes()
    out = run_process([*tool, 'theirs.pth', 'ours.pth', '--to', 'upernet', '--overwrite'], tmp_path, status=2)
    assert out.startswith('error: theirs.pth is a RetinaNet') and 'Traceback' not in out
    break_file('malicious', source)
    out = run_process([*tool, 'theirs.pth', 'ours.pth', '--overwrite'], tmp_path, status=2)
    assert out.startswith('error: theirs.pth is refused') and 'Traceback' not in out
    assert (tmp_path / 'ours.pth').read_bytes() == content
    assert sorted(path.name for path in tmp_path.iterdir()) == ['ours.pth', 'theirs.pth']


CONFIG = """
_base_ = '{repo}/configs/published/{name}_3rdparty.py'
few = dict(num_workers=0, persistent_workers=False)
model = dict(backbone=dict(arch=dict(_delete_=True, **{arch})), **{heads})
"""
DETECTION = """
test_dataloader = dict(dataset=dict(data_root='{data}/', ann_file='annotations/instances_val.json',
                                    data_prefix=dict(img='images/val/'), metainfo=dict(classes={classes})), **few)
test_evaluator = dict(ann_file='{data}/annotations/instances_val.json')
"""
SEGMENTATION = """
classes = ('background', *{classes})
test_dataloader = dict(dataset=dict(
    type='BaseSegDataset', reduce_zero_label=True, data_root='{data}',
    metainfo=dict(classes=classes, palette=[[40 * i] * 3 for i in range(5)]),
    data_prefix=dict(img_path='images/val', seg_map_path='labels/val'), img_suffix='.png'), **few)
"""


def small_heads(layout: str) -> dict:
    """Settings of the heads that fit ``published_files.SMALL``."""
    dims = [8, 16, 24, 32]
    if layout == 'detectron2-retinanet':
        return dict(
            neck=dict(in_channels=dims[1:], out_channels=16),
            bbox_head=dict(in_channels=16, feat_channels=16, num_classes=4),
        )
    if layout == 'detectron2-mask_rcnn':
        return dict(
            neck=dict(in_channels=dims, out_channels=16),
            rpn_head=dict(in_channels=16, feat_channels=16),
            roi_head=dict(
                bbox_roi_extractor=dict(out_channels=16),
                mask_roi_extractor=dict(out_channels=16),
                bbox_head=dict(in_channels=16, fc_out_channels=32, num_classes=4),
                mask_head=dict(in_channels=16, conv_out_channels=16, num_classes=4),
            ),
        )
    return dict(
        decode_head=dict(in_channels=dims, channels=16, num_classes=5),
        auxiliary_head=dict(in_channels=dims[2], channels=8, num_classes=5),
    )


@pytest.mark.parametrize(
    'version, layout, name, metric',
    [
        pytest.param(
            'rest', 'detectron2-retinanet', 'retinanet_rest_small_fpn_1x_coco', 'bbox_mAP', marks=pytest.mark.slow
        ),
        pytest.param(
            'restv2', 'detectron2-mask_rcnn', 'mask_rcnn_restv2_tiny_fpn_3x_coco', 'segm_mAP', marks=pytest.mark.slow
        ),
        pytest.param(
            'restv2', 'mmseg-upernet', 'upernet_restv2_tiny_512x512_160k_ade20k', 'mIoU', marks=pytest.mark.slow
        ),
    ],
)
def test_from_the_authors_file_to_a_figure(repo, tiny, shapes, tmp_path, version, layout, name, metric):
    """The two commands that users type, on drawn images with an untrained network."""
    pytest.importorskip('mmcv._ext')
    classes = dict(num_classes=5 if layout == 'mmseg-upernet' else 4)
    state_dict = files.fill(
        files.WHOLE[layout](version, tiny, **{**files.SMALL[layout], **classes}), dtype=torch.float32
    )
    save(state_dict, tmp_path / 'theirs.pth', layout)
    run_process([sys.executable, repo / 'tools/convert_checkpoint.py', 'theirs.pth', 'ours.pth'], tmp_path)
    data = SEGMENTATION if layout == 'mmseg-upernet' else DETECTION
    (tmp_path / 'small.py').write_text(
        (CONFIG + data).format(repo=repo, name=name, arch=tiny, heads=small_heads(layout), data=shapes, classes=CLASSES)
    )
    options = (
        ['--tta']
        if layout == 'mmseg-upernet'
        else ['--cfg-options', 'test_dataloader.dataset.pipeline.1.scale=(96,96)']
    )
    out = run_process([sys.executable, repo / 'tools/test.py', 'small.py', 'ours.pth', *options], tmp_path)
    assert f"{len(state_dict)} tensors, 100.0% of the model's values, loaded from ours.pth" in out
    assert metric in out and not re.search(r'\d (missing|unexpected|mismatched):', out)
