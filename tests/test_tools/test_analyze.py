"""tools/analyze.py and tools/get_flops.py: pictures and numbers are written, mistakes are one message."""

import json
import re
from pathlib import Path

import cv2
import numpy as np
import pytest

TOOLS = Path(__file__).resolve().parents[2] / 'tools'


def check_picture(path):
    picture = cv2.imread(str(path))
    assert min(picture.shape[:2]) > 200 and len(np.unique(picture.reshape(-1, 3), axis=0)) > 50


@pytest.mark.parametrize('command, options', [('diversity', []), ('fourier', []), ('erf', ['--shape', '64', '48'])])
def test_figures_of_two_models(run, configs, checkpoint, shapes, tmp_path, command, options):
    run(
        'analyze',
        command,
        configs['ResT'],
        checkpoint,
        shapes / 'images/val',
        '--num-images',
        2,
        '--out',
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


def test_class_activation_maps(run, grad_cam, configs, checkpoint, shapes, tmp_path):
    run(
        'analyze',
        'cam',
        configs['ResT'],
        checkpoint,
        shapes / 'images/val',
        '--num-images',
        2,
        '--score-thr',
        0,
        '--versus',
        configs['ResT'],
        'none',
        '--class',
        'star',
        '--out',
        '.',
    )
    check_picture(tmp_path / 'cam.png')
    images = json.loads((tmp_path / 'cam.json').read_text())['images']
    assert [image['class'] for image in images] == ['star', 'star']
    assert all(set(image['models']) == {'rest', 'rest (initial weights)'} for image in images)


def test_curves_of_two_runs(run, tmp_path):
    for name, ap in (('a', 0.25), ('b', 0.5)):
        log = tmp_path / name / '20260101_000000/vis_data/scalars.json'
        log.parent.mkdir(parents=True)
        train = [dict(step=i, iter=i, epoch=1 + i // 5, lr=0.1 / i, loss=ap / i) for i in range(1, 10)]
        val = [{'step': 1, 'coco/bbox_mAP': ap / 2, 'coco/bbox_mAP_50': 0.9}, {'step': 2, 'coco/bbox_mAP': ap}]
        log.write_text('\n'.join(map(json.dumps, train + val)))
    run('analyze', 'curves', 'a', 'b', '--out', 'figures', '--smooth', 3)
    check_picture(tmp_path / 'figures/curves.png')
    numbers = json.loads((tmp_path / 'figures/curves.json').read_text())
    assert numbers['metric'] == 'coco/bbox_mAP' and set(numbers['runs']) == {'a', 'b'}
    assert numbers['runs']['b']['val'] == [[1, 0.25], [2, 0.5]] and numbers['runs']['b']['val_unit'] == 'epoch'
    assert numbers['runs']['a']['lr'][3] == [4, 0.025] and len(numbers['runs']['a']['loss']) == 9


@pytest.mark.parametrize(
    'command, args, message',
    [
        ('erf', ['missing.py', 'none', '{shapes}'], 'There is no config missing.py'),
        ('erf', ['{config}', 'missing.pth', '{shapes}'], 'There is no checkpoint missing.pth'),
        ('erf', ['{config}', 'none', 'nowhere'], 'There is no folder or image nowhere'),
        ('erf', ['{config}', 'none', '{shapes}/annotations'], 'holds no images'),
        ('erf', ['{config}', 'none', '{shapes}', '--num-images', '0'], '--num-images must be 1 or more'),
        ('erf', ['{config}', 'none', '{shapes}', '--shape', '0', '5'], '--shape takes two positive numbers'),
        ('erf', ['{config}', 'none', '{shapes}/shapes.json'], 'cannot be read as an image'),
        ('fourier', ['{config}', 'none', '{shapes}', '--versus', '{config}', 'none'], 'is given twice'),
        ('curves', ['nowhere'], 'holds no log of a run'),
    ],
)
def test_mistakes_are_one_message(run, configs, shapes, capsys, command, args, message):
    with pytest.raises(SystemExit) as exit_status:
        run('analyze', command, *(arg.format(config=configs['ResT'], shapes=shapes) for arg in args))
    assert exit_status.value.code == 2
    assert message in capsys.readouterr().err


def test_costs_of_a_backbone(run, tmp_path, capsys):
    run(
        'get_flops',
        '--backbone',
        'ResTAblation',
        '--arch',
        'lite',
        '--shape',
        224,
        '--json',
        'cost.json',
        '--options',
        'stem=resnet',
    )
    assert 'ResTAblation, stage 4' in capsys.readouterr().out
    numbers = json.loads((tmp_path / 'cost.json').read_text())
    assert numbers['shape'] == [224, 224] and len(numbers['parts']) == 4
    assert sum(part['layers'] for part in numbers['parts']) / 1e9 == pytest.approx(1.39, abs=0.005)


def test_costs_of_a_config(run, configs, capsys):
    run('get_flops', configs['ResTv2'], '--shape', 64, 96)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[3:]] == ['backbone,'] * 4 + ['neck', 'bbox_head', 'total']
    assert lines[0] == 'One image of 64 x 96 (height x width)'


def test_costs_of_other_images_than_rgb(run, configs, tmp_path):
    """One more channel of the image is one more of each filter of the first convolution, 3 x 3 with a stride of 2."""
    for channels in (3, 4):
        run(
            'get_flops',
            configs['ResTv2'],
            '--shape',
            64,
            96,
            '--json',
            f'{channels}.json',
            '--cfg-options',
            f'model.backbone.in_channels={channels}',
        )
    three, four = (json.loads((tmp_path / f'{channels}.json').read_text())['parts'][0] for channels in (3, 4))
    filters = (four['params'] - three['params']) // 9
    assert filters > 0 and four['layers'] - three['layers'] == filters * 9 * 32 * 48


def test_costs_of_a_segmentor_that_does_not_fit(run, repo, capsys):
    pytest.importorskip('mmseg')
    pytest.importorskip('mmcv._ext')
    with pytest.raises(SystemExit) as exit_status:
        run(
            'get_flops',
            repo / 'configs/upernet_rest_lite_shapes.py',
            '--cfg-options',
            'model.backbone.out_indices=(0,1)',
        )
    assert exit_status.value.code == 2
    assert re.search('decode_head .* does not fit its backbone', capsys.readouterr().err)


@pytest.mark.parametrize(
    'args, message',
    [
        ([], 'Give either a config or --backbone'),
        (['--backbone', 'ResT', '--arch', 'huge'], "Unknown arch 'huge'"),
        (['--backbone', 'ResT', '--options', 'stems=resnet'], 'stems'),
        (['--backbone', 'ResT', '--shape', '0'], '--shape takes one or two positive numbers'),
        (['none.py'], 'There is no config none.py'),
        (
            ['{config}', '--cfg-options', 'model.backbone.type=ResTAblation', 'model.backbone.stem=vit'],
            "cannot be built: .*Unknown stem 'vit'",
        ),
        (['{config}', '--arch', 'lite', '--options', 'stem=resnet'], '--arch, --options does nothing with a config'),
        (['--backbone', 'ResT', '--cfg-options', 'a=1'], '--cfg-options does nothing with --backbone'),
        (['--published', '{config}', '--cfg-options', 'a=1'], 'a config, --cfg-options does nothing with --published'),
        (
            [
                '--ablations',
                '--backbone',
                'ResT',
                '--arch',
                'lite',
                '--options',
                'stem=resnet',
                '--shape',
                '224',
                '--json',
                'cost.json',
            ],
            '--backbone, --arch, --options, --shape, --json does nothing with --ablations',
        ),
        (['{config}', '--cfg-options', 'model.backbone=None'], 'has no model with a backbone'),
        (
            ['{config}', '--cfg-options', 'model.neck.in_channels=[1,2,3]'],
            'neck .* not fit its backbone.* 16, 24, 32 ch',
        ),
        (['{config}', '--cfg-options', 'model.backbone.out_indices=(0,1)'], 'neck .* not fit its backbone.* 2 maps'),
    ],
)
def test_mistakes_in_counting_are_one_message(run, configs, capsys, args, message):
    with pytest.raises(SystemExit) as exit_status:
        run('get_flops', *(arg.format(config=configs['ResT']) for arg in args))
    assert exit_status.value.code == 2 and re.search(message, capsys.readouterr().err)
