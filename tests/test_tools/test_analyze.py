"""tools/analyze.py: pictures and numbers are written, mistakes are one message."""

import json

import cv2
import numpy as np
import pytest


def check_picture(path):
    picture = cv2.imread(str(path))
    assert min(picture.shape[:2]) > 200 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


@pytest.mark.parametrize('command, options', [('diversity', []), ('fourier', []), ('erf', ['--shape', '64', '48'])])
def test_analyze_two_models_writes_picture_and_numbers(run, configs, checkpoint, shapes, tmp_path, command, options):
    run(
        'analyze',
        command,
        shapes / 'images/val',
        configs['ResT'],
        checkpoint,
        '--num-images',
        2,
        '--out-dir',
        'new/figures',
        '--versus',
        configs['ResTv2'],
        'none',
        *options,
    )
    check_picture(tmp_path / f'new/figures/{command}.png')
    numbers = json.loads((tmp_path / f'new/figures/{command}.json').read_text())
    assert numbers['num_images'] == 2
    models = numbers['relative_log_amplitude' if command == 'fourier' else 'models']
    assert set(models) == {'rest', 'restv2 (initial weights)'}


def test_analyze_cam_writes_picture_and_numbers(run, grad_cam, configs, checkpoint, shapes, tmp_path):
    run(
        'analyze',
        'cam',
        shapes / 'images/val',
        configs['ResT'],
        checkpoint,
        '--num-images',
        2,
        '--score-thr',
        0,
        '--versus',
        configs['ResT'],
        'none',
        '--class',
        'star',
        '--out-dir',
        '.',
    )
    check_picture(tmp_path / 'cam.png')
    images = json.loads((tmp_path / 'cam.json').read_text())['images']
    assert [image['class'] for image in images] == ['star', 'star']
    assert [set(image['models']) for image in images] == [{'rest', 'rest (initial weights)'}] * len(images)


def test_analyze_curves_of_two_runs_writes_picture_and_numbers(run, tmp_path):
    for name, ap in (('a', 0.25), ('b', 0.5)):
        log = tmp_path / name / '20260101_000000/vis_data/scalars.json'
        log.parent.mkdir(parents=True)
        train = [dict(step=i, iter=i, epoch=1 + i // 5, lr=0.1 / i, loss=ap / i) for i in range(1, 10)]
        val = [{'step': 1, 'coco/bbox_mAP': ap / 2, 'coco/bbox_mAP_50': 0.9}, {'step': 2, 'coco/bbox_mAP': ap}]
        log.write_text('\n'.join(map(json.dumps, train + val)))
    run('analyze', 'curves', 'a', 'b', '--out-dir', 'figures', '--smooth', 3)
    check_picture(tmp_path / 'figures/curves.png')
    numbers = json.loads((tmp_path / 'figures/curves.json').read_text())
    assert numbers['metric'] == 'coco/bbox_mAP' and set(numbers['runs']) == {'a', 'b'}
    assert numbers['runs']['b']['val'] == [[1, 0.25], [2, 0.5]] and numbers['runs']['b']['val_unit'] == 'epoch'
    assert numbers['runs']['a']['lr'][3] == [4, 0.025] and len(numbers['runs']['a']['loss']) == 9


@pytest.mark.parametrize(
    'command, args, message',
    [
        ('erf', ['{shapes}', 'missing.py', 'none'], 'There is no config missing.py'),
        ('erf', ['{shapes}', '{config}', 'missing.pth'], 'There is no checkpoint missing.pth'),
        ('erf', ['nowhere', '{config}', 'none'], 'There is no folder or image nowhere'),
        ('erf', ['{shapes}/annotations', '{config}', 'none'], 'holds no images'),
        (
            'erf',
            ['{shapes}', '{config}', 'none', '--num-images', '0'],
            '--num-images: 0 is not an integer',
        ),
        ('erf', ['{shapes}', '{config}', 'none', '--shape', '0', '5'], '--shape: 0 is not an integer of at least 1'),
        ('erf', ['{shapes}/shapes.json', '{config}', 'none'], 'cannot be read as an image'),
        ('fourier', ['{shapes}', '{config}', 'none', '--versus', '{config}', 'none'], 'is given twice'),
        ('curves', ['nowhere'], 'holds no log of a run'),
    ],
)
def test_analyze_bad_input_is_one_message(run, configs, shapes, capsys, command, args, message):
    with pytest.raises(SystemExit) as exit_status:
        run('analyze', command, *(arg.format(config=configs['ResT'], shapes=shapes) for arg in args))
    assert exit_status.value.code == 2
    assert message in capsys.readouterr().err
