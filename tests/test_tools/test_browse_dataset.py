"""tools/browse_dataset.py: pictures of what a pipeline feeds."""

import re
from pathlib import Path

import cv2
import numpy as np
import pytest
from helpers.painted import listed, write_classifier


@pytest.mark.parametrize('phase, number, expected', [('train', 3, 3), ('val', 99, 4)])
def test_browse_instances_are_painted(run, repo, shapes, tmp_path, capsys, phase, number, expected):
    pytest.importorskip('mmdet')
    run(
        'browse_dataset',
        repo / 'configs/mask_rcnn_rest_lite_fpn_shapes.py',
        '--phase',
        phase,
        '--num-samples',
        number,
        '--out-dir',
        'new/out',
        '--cfg-options',
        f'data_root={shapes}',
    )
    assert f'Drawing {expected} of {9 if phase == "train" else 4} samples ({phase})' in capsys.readouterr().out
    sheet, *pictures = sorted(Path('new/out').iterdir(), key=lambda path: path.name[0] != 'c')
    assert sheet.name == 'contact_sheet.png' and len(pictures) == expected
    assert cv2.imread(str(pictures[0])).shape == (512, 512, 3)  # of 128 x 128, to which the pipeline resizes
    assert len(np.unique(cv2.imread(str(sheet)).reshape(-1, 3), axis=0)) > 1000


def test_browse_label_maps_are_painted(run, repo, shapes, tmp_path):
    pytest.importorskip('mmseg')
    run(
        'browse_dataset',
        repo / 'configs/upernet_rest_lite_shapes.py',
        '--num-samples',
        2,
        '--cfg-options',
        f'data_root={shapes}',
    )
    assert len(listed('work_dirs/browse/upernet_rest_lite_shapes_train')) == 3


def test_browse_classes_are_painted(run, shapes, tmp_path):
    write_classifier(tmp_path, shapes / 'images/val/000000.png')
    run('browse_dataset', 'classifier.py', '--out-dir', 'browsed')
    assert listed('browsed') == ['000000_000000.png', '000001_000000.png', 'contact_sheet.png']


@pytest.mark.parametrize(
    'args, message',
    [
        (['missing.py'], 'There is no config missing.py'),
        (['{config}', '--cfg-options', 'data_root=nowhere'], 'Data of this config are missing'),
        (
            ['{config}', '--num-samples', '0', '--cfg-options', 'data_root={shapes}'],
            '--num-samples: 0 is not an integer',
        ),
        (['{config}', '--show', '--cfg-options', 'data_root={shapes}'], '--show needs a display'),
        (['{config}', '--cfg-options', 'train_dataloader=None'], 'no dataset for train: it has val, test'),
        (
            ['{config}', '--cfg-options', 'data_root={shapes}', 'train_dataloader.dataset.pipeline="[]"'],
            'gives no single image with annotations',
        ),
    ],
)
def test_browse_bad_input_is_one_message(run, configs, shapes, monkeypatch, capsys, args, message):
    for name in ('DISPLAY', 'WAYLAND_DISPLAY'):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(SystemExit) as exit_status:
        run('browse_dataset', *(arg.format(config=configs['ResT'], shapes=shapes) for arg in args))
    assert exit_status.value.code == 2 and re.search(message, capsys.readouterr().err)
    assert not Path('work_dirs').exists()
