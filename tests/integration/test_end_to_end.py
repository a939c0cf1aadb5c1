"""Training, resuming and testing a detector with the tools, from a directory outside the repository."""

import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch
from conftest import call_tool, load_safely, run_process
from helpers.detector_runs import SMALL, steps

pytest.importorskip('mmdet')
pytest.importorskip('mmcv._ext')

LOGGED = ['bbox_mAP', 'bbox_mAP_50', 'bbox_mAP_75', 'bbox_mAP_s', 'bbox_mAP_m', 'bbox_mAP_l']


def read_logs(work_dir: Path) -> dict[Path, str]:
    """Return the log of each run in a work dir, by path."""
    return {path: path.read_text() for path in work_dir.glob('*/*.log')}


@pytest.fixture(scope='module')
def killed(repo, shapes, tmp_path_factory):
    """Config and work dir of a small detector that was killed in its third epoch, and what it printed."""
    folder = tmp_path_factory.mktemp('elsewhere')
    config, log = folder / 'small.py', folder / 'first.log'
    config.write_text(SMALL.format(repo=repo, epochs=4))
    args = [config, '--work-dir', folder / 'run', '--cfg-options', f'data_root={shapes}']
    command = [sys.executable, repo / 'tools/train.py', *args]
    with log.open('w') as file:
        process = subprocess.Popen(list(map(str, command)), cwd=folder, stdout=file, stderr=subprocess.STDOUT)
        deadline = time.time() + 240
        note = folder / 'run' / 'last_checkpoint'  # written after the checkpoint
        while not (note.exists() and note.read_text().endswith('epoch_2.pth')):
            assert process.poll() is None and time.time() < deadline, log.read_text()[-3000:]
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
    assert not (folder / 'run' / 'epoch_4.pth').exists()
    return config, args, folder / 'run', log.read_text()


@pytest.fixture(scope='module')
def resumed(killed):
    """The checkpoint that the killed run was resumed from, and what the rest of it has logged."""
    _, args, work_dir, _ = killed
    last, before = Path((work_dir / 'last_checkpoint').read_text()), read_logs(work_dir)
    with pytest.MonkeyPatch.context() as patch:
        load_safely(patch)
        call_tool(patch, work_dir.parent, 'train', *args, '--resume')
    (new,) = read_logs(work_dir).keys() - before.keys()
    return last, new.read_text()


def test_train_resumed_after_a_kill_continues_the_schedule(killed, resumed, run, shapes, tmp_path, own_process_state):
    config, _, _, before = killed
    last, after = resumed
    done = int(last.stem.removeprefix('epoch_'))
    assert min(steps(after))[0] == done + 1 and max(steps(after))[0] == 4
    assert f'resumed epoch: {done}' in after
    # An uninterrupted run has the same learning rate at every step.
    run('train', config, '--work-dir', tmp_path / 'run', '--cfg-options', f'data_root={shapes}')
    (whole,) = read_logs(tmp_path / 'run').values()
    assert {**steps(before), **steps(after)} == steps(whole)


def test_test_trained_detector_prints_coco_metrics(killed, resumed, run, shapes, tmp_path, own_process_state, capsys):
    config, _, work_dir, _ = killed
    targets = ['--out', tmp_path / 'results.pkl', '--show-dir', tmp_path / 'painted', '--work-dir', tmp_path / 'run']
    run('test', config, work_dir / 'epoch_4.pth', *targets, '--cfg-options', f'data_root={shapes}')
    (out,) = read_logs(tmp_path / 'run').values()
    assert len(re.findall(r'Average (?:Precision|Recall)', capsys.readouterr().out)) == 12
    assert [name for name in LOGGED if f'coco/{name}:' not in out] == []
    assert "of the model's values, loaded from" in out and '100.0%' in out
    assert (tmp_path / 'results.pkl').stat().st_size > 0
    assert len(list((tmp_path / 'painted').glob('*.png'))) == 4


def test_test_with_tta_prints_coco_metrics(killed, resumed, run, shapes, tmp_path, own_process_state):
    config, _, work_dir, _ = killed
    run(
        'test',
        config,
        work_dir / 'epoch_4.pth',
        '--tta',
        '--work-dir',
        tmp_path / 'run',
        '--cfg-options',
        f'data_root={shapes}',
    )
    (out,) = read_logs(tmp_path / 'run').values()
    assert 'coco/bbox_mAP:' in out and '100.0%' in out


@pytest.mark.slow
def test_train_and_test_mask_rcnn_prints_box_and_mask_metrics(repo, shapes, tmp_path):
    config = (
        SMALL.replace('retinanet_', 'mask_rcnn_')[: SMALL.index('    neck=') + 1]
        + """
    neck=dict(in_channels=[8, 16, 24, 32], out_channels=16),
    rpn_head=dict(in_channels=16, feat_channels=16),
    roi_head=dict(
        bbox_roi_extractor=dict(out_channels=16), bbox_head=dict(in_channels=16, fc_out_channels=16),
        mask_roi_extractor=dict(out_channels=16), mask_head=dict(num_convs=1, in_channels=16, conv_out_channels=16)),
    test_cfg=dict(rcnn=dict(score_thr=0.0)))
"""
        + SMALL[SMALL.index('train_dataloader') :]
    )
    (tmp_path / 'small.py').write_text(config.format(repo=repo, epochs=1))
    tool, options = [sys.executable, repo / 'tools/train.py'], ['--cfg-options', f'data_root={shapes}']
    out = run_process([*tool, 'small.py', *options], tmp_path)
    assert 'loss_mask' in out
    tool = [sys.executable, repo / 'tools/test.py']
    out = run_process([*tool, 'small.py', 'work_dirs/small/epoch_1.pth', *options], tmp_path)
    assert len(re.findall(r'Average (?:Precision|Recall)', out)) == 24  # twelve of boxes, twelve of masks
    assert 'coco/bbox_mAP:' in out and 'coco/segm_mAP:' in out


def test_test_checkpoint_of_another_model_ends_in_one_message(run, repo, shapes, tmp_path, own_process_state, capfd):
    (tmp_path / 'small.py').write_text(SMALL.format(repo=repo, epochs=4))
    torch.save(torch.nn.Linear(2, 2).state_dict(), tmp_path / 'other.pth')
    with pytest.raises(SystemExit) as stopped:
        run('test', 'small.py', 'other.pth', '--cfg-options', f'data_root={shapes}')
    printed = ''.join(capfd.readouterr())
    assert stopped.value.code == 2
    assert 'error: The checkpoint does not fit the model' in printed and 'Traceback' not in printed


@pytest.mark.parametrize(
    'tool, args, message',
    [
        ('train', ['retinanet_rest_lite_fpn_1x_coco.py'], 'data/coco'),
        (
            'test',
            ['retinanet_rest_lite_fpn_shapes.py', 'none.pth', '--cfg-options', 'data_root={shapes}'],
            'There is no checkpoint none.pth',
        ),
    ],
)
def test_tools_mistaken_arguments_end_in_one_message(
    run, repo, shapes, tmp_path, own_process_state, capfd, tool, args, message
):
    with pytest.raises(SystemExit) as stopped:
        run(tool, repo / 'configs' / args[0], *(arg.format(shapes=shapes) for arg in args[1:]))
    printed = ''.join(capfd.readouterr())
    assert stopped.value.code == 2 and 'error: ' in printed and message in printed and 'Traceback' not in printed
    assert not (tmp_path / 'work_dirs').exists()
