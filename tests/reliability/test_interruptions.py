"""Checkpoints are written whole or not at all, and runs resume from whole ones."""

import errno
import io
import os
import pickle
import subprocess
import sys

import pytest
import torch
from helpers.compare import assert_equal
from helpers.hostile import RunsCommand

from mmrest.checkpoints import CheckpointError, states
from mmrest.checkpoints.states import check_state, find_latest_checkpoint
from mmrest.utils import fileio
from mmrest.utils.fileio import atomic_write, remove_partial_files

pytest.importorskip('mmdet')
pytest.importorskip('mmcv._ext')

from helpers.small_runs import build, train, write_config  # noqa: E402


def save_state(folder, number, **parts):
    """A small checkpoint as mmengine writes it."""
    path = folder / f'epoch_{number}.pth'
    torch.save(
        {
            'meta': dict(epoch=number, iter=5 * number, seed=3),
            'state_dict': {'a': torch.rand(1000)},
            'message_hub': {},
            'optimizer': {},
            **parts,
        },
        path,
    )
    return path


def flip(content, where):
    """The bytes with all bits of one of them flipped."""
    return content[:where] + bytes([content[where] ^ 0xFF]) + content[where + 1 :]


def inside(content):
    """Somewhere in the values of the tensor."""
    return content.index(b'data/0') + 500


DAMAGES = dict(
    empty=lambda content: b'',
    one_byte=lambda content: content[:1],
    cut_in_half=lambda content: content[: len(content) // 2],
    one_byte_short=lambda content: content[:-1],
    zeros=lambda content: bytes(len(content)),
    zeros_at_the_end=lambda content: content[:-200] + bytes(200),
    zeros_inside=lambda content: content[: inside(content)] + bytes(8) + content[inside(content) + 8 :],
    a_flipped_byte=lambda content: flip(content, inside(content)),
    a_flipped_byte_in_the_pickle=lambda content: flip(content, content.index(b'state_dict') + 3),
    a_flipped_byte_in_the_directory=lambda content: flip(content, len(content) - 150),
    text=lambda content: b'not a checkpoint',
    web_page=lambda content: b'<html>no space left</html>',
    weights=lambda content: pickled(lambda file: torch.save({'a': torch.rand(3)}, file)),
    no_optimizer=lambda content: pickled(
        lambda file: torch.save({'meta': dict(epoch=1, iter=1), 'state_dict': {}, 'message_hub': {}}, file)
    ),
    odd_position=lambda content: pickled(
        lambda file: torch.save(
            {'meta': dict(epoch='1', iter=-1), 'state_dict': {}, 'message_hub': {}, 'optimizer': {}}, file
        )
    ),
    would_run_code=lambda content: pickled(lambda file: torch.save({'x': RunsCommand('touch it_ran')}, file)),
    plain_pickle=lambda content: pickle.dumps(RunsCommand('touch it_ran')),
)


def pickled(save):
    file = io.BytesIO()
    save(file)
    return file.getvalue()


@pytest.fixture
def said(monkeypatch):
    """Messages that are logged."""
    messages = []
    monkeypatch.setattr(states, 'print_log', lambda message, **kwargs: messages.append(message))
    return messages


@pytest.mark.parametrize('damage', DAMAGES)
def test_find_latest_checkpoint_newest_damaged_returns_the_one_before(tmp_path, monkeypatch, said, tally, damage):
    monkeypatch.chdir(tmp_path)
    for number in (2, 9):
        save_state(tmp_path, number)
    newest = save_state(tmp_path, 10)
    damaged = DAMAGES[damage](newest.read_bytes())
    assert damaged != newest.read_bytes()
    newest.write_bytes(damaged)
    (tmp_path / 'last_checkpoint').write_text(str(newest))
    path, meta = find_latest_checkpoint(tmp_path)
    assert path.name == 'epoch_9.pth' and meta['iter'] == 45  # by number: 9 comes before 10, after 2
    assert 'Not resuming from epoch_10.pth' in said[0]
    assert newest.read_bytes() == damaged, 'it stays'
    with pytest.raises(CheckpointError, match='epoch_10.pth'):
        check_state(newest)
    assert not (tmp_path / 'it_ran').exists()
    tally('damaged checkpoints recognized')


def test_check_state_flipped_byte_is_noticed_or_harmless(tmp_path, tally):
    """Checksums cover what is stored; what lies between it (alignment, dates) carries nothing."""
    path = save_state(tmp_path, 1)
    content = path.read_bytes()
    good = torch.load(path, weights_only=True)
    noticed = 0
    for where in range(0, len(content), 97):
        path.write_bytes(flip(content, where))
        try:
            check_state(path)
        except CheckpointError:
            noticed += 1
            continue
        loaded = torch.load(path, weights_only=True)
        assert_equal(loaded['state_dict'], good['state_dict'])
        assert loaded['meta'] == good['meta']
    assert noticed > 40  # the tensor alone takes 4000 of some 6000 bytes
    tally('flipped bytes tried', len(range(0, len(content), 97)))


def test_find_latest_checkpoint_without_whole_checkpoint_is_none_or_raises(tmp_path):
    assert find_latest_checkpoint(tmp_path) is None and find_latest_checkpoint(tmp_path / 'none') is None
    save_state(tmp_path, 1).write_bytes(b'x')
    (tmp_path / 'best_epoch_7.pth').write_bytes(b'x')  # no checkpoint of the series
    with pytest.raises(CheckpointError, match='(?s)No checkpoint in .* is valid.*epoch_1.pth') as error:
        find_latest_checkpoint(tmp_path)
    assert 'best' not in str(error.value)


@pytest.mark.parametrize('note', ['', '\0\0\0', 'epoch_1.pth', '/elsewhere/epoch_2.pth', '../../passwd', 'x' * 9999])
def test_find_latest_checkpoint_wrong_note_is_not_followed(tmp_path, said, note):
    save_state(tmp_path, 1)
    save_state(tmp_path, 2)
    (tmp_path / 'last_checkpoint').write_text(note)
    assert find_latest_checkpoint(tmp_path)[0].name == 'epoch_2.pth'
    assert 'last_checkpoint' in said[0] and len(said[0]) < 600


def test_find_latest_checkpoint_with_template_finds_its_names(tmp_path):
    save_state(tmp_path, 1).rename(tmp_path / 'iter_500.pth')
    save_state(tmp_path, 3)
    assert find_latest_checkpoint(tmp_path, 'iter_{}.pth')[0].name == 'iter_500.pth'


def fail_after(part, error):
    """A write that fails after some of it."""

    def write(file, content):
        file.write(content[: int(part * len(content))])
        raise error

    return write


@pytest.mark.parametrize('error', [OSError(errno.ENOSPC, 'No space left on device'), KeyboardInterrupt()], ids=repr)
def test_atomic_write_failing_leaves_only_the_old_file(tmp_path, monkeypatch, tally, error):
    atomic_write(tmp_path / 'file', b'old')
    monkeypatch.setattr(fileio, '_write', fail_after(0.5, error))
    with pytest.raises(type(error)) as caught:
        atomic_write(tmp_path / 'file', b'new' * 1000)
    assert [path.name for path in tmp_path.iterdir()] == ['file'] and (tmp_path / 'file').read_bytes() == b'old'
    if isinstance(error, OSError):
        assert caught.value.errno == errno.ENOSPC and caught.value.filename == str(tmp_path / 'file')
    tally('failed writes')


@pytest.mark.reliability
def test_atomic_write_over_the_size_limit_raises_and_leaves_nothing(tmp_path, tally):
    """The system's own refusal, in a process of its own."""
    code = (
        'import resource, sys; resource.setrlimit(resource.RLIMIT_FSIZE, (10000, 10000))\n'
        'from mmrest.utils.fileio import atomic_write\n'
        "atomic_write('small', b'x' * 9000)\n"
        "try: atomic_write('large', b'x' * 99999)\n"
        'except OSError as error: print(error.filename, error.strerror)'
    )
    out = subprocess.run(
        [sys.executable, '-c', code],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        env={**os.environ, 'PYTHONDONTWRITEBYTECODE': '1'},
    )
    assert out.stdout.strip() == 'large File too large', out.stderr
    assert [path.name for path in tmp_path.iterdir()] == ['small']
    tally('failed writes')


def test_remove_partial_files_removes_only_partial_files(tmp_path):
    for name in ('.epoch_3.pth.123.partial', '.last_checkpoint.9.partial', 'epoch_3.pth', 'notes.partial'):
        (tmp_path / name).touch()
    assert len(remove_partial_files(tmp_path)) == 2
    assert sorted(path.name for path in tmp_path.iterdir()) == ['epoch_3.pth', 'notes.partial']


def names(folder):
    return {path.name for path in folder.iterdir() if path.is_file()} - {'epochs.py'}


@pytest.mark.usefixtures('own_process_state')
def test_training_on_a_full_disk_keeps_the_last_checkpoint(repo, shapes, tmp_path, monkeypatch, tally):
    """max_keep_ckpts=1: the old one goes when the new one is there, and not before."""
    config = write_config(tmp_path, 'epochs', repo, shapes)
    work_dir = tmp_path / 'run'
    options = {
        'default_hooks.checkpoint.max_keep_ckpts': 1,
        'train_cfg.max_epochs': 3,
        'train_dataloader.dataset.indices': 4,
    }  # two steps an epoch
    write = fileio._write

    def write_until_the_disk_is_full(file, content):
        if '.epoch_2.pth' in str(file.name):
            fail_after(0.9, OSError(errno.ENOSPC, 'No space left on device'))(file, content)
        write(file, content)

    monkeypatch.setattr(fileio, '_write', write_until_the_disk_is_full)
    with pytest.raises(
        CheckpointError,
        match=r'epoch_2.pth could not be written: No space left on device.*'
        r'The last good checkpoint is .*epoch_1.pth',
    ) as error:
        train(config, work_dir, **options)
    assert '\n' not in str(error.value)
    assert names(work_dir) == {'epoch_1.pth', 'last_checkpoint'}
    assert check_state(work_dir / 'epoch_1.pth')['epoch'] == 1
    monkeypatch.setattr(fileio, '_write', write)

    # What a run without this protection could have left: half a checkpoint, and half a temporary file.
    (work_dir / '.epoch_2.pth.1.partial').write_bytes(b'left behind')
    (work_dir / 'epoch_2.pth').write_bytes(b'half')
    assert min(train(config, work_dir, 'auto', **options)) == 3
    assert names(work_dir) == {'epoch_3.pth', 'last_checkpoint'}
    assert (work_dir / 'last_checkpoint').read_text() == str(work_dir / 'epoch_3.pth')

    # Killed between a new checkpoint and the removal of the one before it: the resumed run removes that.
    (work_dir / 'epoch_2.pth').write_bytes((work_dir / 'epoch_3.pth').read_bytes())
    assert min(train(config, work_dir, 'auto', **{**options, 'train_cfg.max_epochs': 4})) == 7
    assert names(work_dir) == {'epoch_4.pth', 'last_checkpoint'}
    tally('failed writes')


@pytest.mark.usefixtures('own_process_state')
def test_build_runner_broken_checkpoint_is_refused_before_the_run(repo, shapes, tmp_path):
    config = write_config(tmp_path, 'epochs', repo, shapes)
    broken = tmp_path / 'broken.pth'
    broken.write_bytes(save_state(tmp_path, 1).read_bytes()[:-50])
    with pytest.raises(CheckpointError, match='broken.pth is cut off'):
        build(config, tmp_path / 'run', str(broken))
    assert not (tmp_path / 'run').exists()
    runner = build(config, tmp_path / 'run', 'auto')
    assert not runner._resume and runner._load_from is None, 'there was nothing to resume'
    save_state(
        tmp_path,
        1,
        state_dict=runner.model.state_dict(),
        optimizer=runner.optim_wrapper.state_dict(),
        param_schedulers=[{}],
    )
    # A run without a seed of its own goes on with the one it drew.
    runner = build(config, tmp_path, 'auto', randomness=dict(seed=None))
    assert runner._load_from == str(tmp_path / 'epoch_1.pth') and runner.seed == 3
    assert build(config, tmp_path, str(tmp_path / 'epoch_1.pth'), randomness=dict(seed=8)).seed == 3
