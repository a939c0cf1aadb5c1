"""Mistakes on the command line of tools/export_onnx.py."""

import re
import runpy
import sys

import pytest
from helpers.tools import TOOLS


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
        (
            ['{config}', '--checkpoint', '{checkpoint}', '--cfg-options', 'model.bbox_head.num_classes=7'],
            r'does not fill bbox_head\.retina_cls.* would keep random values\. Use the config of the training',
        ),
        (['{mask_rcnn}'], 'is a MaskRCNN.*--part backbone'),
    ],
)
def test_export_onnx_with_a_mistake_ends_in_one_message(
    run, repo, configs, checkpoint, tmp_path, capsys, args, message
):
    (tmp_path / 'other.zip').write_bytes(b'PK\x03\x04 and nothing more')
    paths = dict(
        config=configs['ResT'],
        checkpoint=checkpoint,
        zip=tmp_path / 'other.zip',
        mask_rcnn=repo / 'configs/mask_rcnn_rest_lite_fpn_shapes.py',
    )
    with pytest.raises(SystemExit) as exit_status:
        run('export_onnx', *(arg.format(**paths) for arg in args))
    assert exit_status.value.code == 2
    assert re.search(message, capsys.readouterr().err)
    assert not list(tmp_path.rglob('*.onnx'))


@pytest.mark.parametrize(
    'arguments, message',
    [
        (['--backbone', 'ResT', '--arch', 'lite', '--part', 'backbone'], '--part does nothing with --backbone'),
        (['configs/retinanet_rest_lite_fpn_shapes.py', '--arch', 'large'], '--arch does nothing with a config'),
    ],
)
def test_export_onnx_with_option_without_effect_is_refused(monkeypatch, capsys, arguments, message):
    monkeypatch.setattr(sys, 'argv', ['export_onnx.py', *arguments])
    with pytest.raises(SystemExit):
        runpy.run_path(str(TOOLS / 'export_onnx.py'), run_name='__main__')
    assert message in capsys.readouterr().err
