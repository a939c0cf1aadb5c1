"""tools/get_flops.py: costs are counted by stage, mistakes are one message."""

import json
import re

import pytest


def test_flops_of_a_backbone_are_written_by_stage(run, tmp_path, capsys):
    run(
        'get_flops',
        '--backbone',
        'ResTAblation',
        '--arch',
        'lite',
        '--shape',
        224,
        224,
        '--out',
        'cost.json',
        '--options',
        'stem=resnet',
    )
    assert 'ResTAblation, stage 4' in capsys.readouterr().out
    numbers = json.loads((tmp_path / 'cost.json').read_text())
    assert numbers['shape'] == [224, 224] and len(numbers['parts']) == 4
    assert sum(part['layers'] for part in numbers['parts']) / 1e9 == pytest.approx(1.39, abs=0.005)


def test_flops_of_a_config_are_printed_by_part(run, configs, capsys):
    run('get_flops', configs['ResTv2'], '--shape', 64, 96)
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[4:]] == ['backbone,'] * 4 + ['neck', 'bbox_head', 'total']
    assert lines[0] == 'One image of 64 x 96 (height x width)'


def test_flops_of_four_channels_add_to_the_first_convolution(run, configs, tmp_path):
    """One more channel of the image is one more of each filter of the first convolution, 3 x 3 with a stride of 2."""
    for channels in (3, 4):
        run(
            'get_flops',
            configs['ResTv2'],
            '--shape',
            64,
            96,
            '--out',
            f'{channels}.json',
            '--cfg-options',
            f'model.backbone.in_channels={channels}',
        )
    three, four = (json.loads((tmp_path / f'{channels}.json').read_text())['parts'][0] for channels in (3, 4))
    filters = (four['params'] - three['params']) // 9
    assert filters > 0 and four['layers'] - three['layers'] == filters * 9 * 32 * 48


def test_flops_of_a_head_that_does_not_fit_is_refused(run, repo, capsys):
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
        (['--backbone', 'ResT', '--shape', '0', '5'], '--shape: 0 is not an integer of at least 1'),
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
                '224',
                '--out',
                'cost.json',
            ],
            '--backbone, --arch, --options, --shape, --out does nothing with --ablations',
        ),
        (['{config}', '--cfg-options', 'model.backbone=None'], 'has no model with a backbone'),
        (
            ['{config}', '--cfg-options', 'model.neck.in_channels=[1,2,3]'],
            'neck .* not fit its backbone.* 16, 24, 32 ch',
        ),
        (['{config}', '--cfg-options', 'model.backbone.out_indices=(0,1)'], 'neck .* not fit its backbone.* 2 maps'),
    ],
)
def test_flops_bad_input_is_one_message(run, configs, capsys, args, message):
    with pytest.raises(SystemExit) as exit_status:
        run('get_flops', *(arg.format(config=configs['ResT']) for arg in args))
    assert exit_status.value.code == 2 and re.search(message, capsys.readouterr().err)
