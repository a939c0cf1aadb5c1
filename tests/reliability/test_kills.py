"""Runs of tools/train.py that are killed at random moments, also while they write, and resumed until they are done."""

import json
import os
import random
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Callable

import pytest
from conftest import run_process

from mmrest.checkpoints.states import find_latest_checkpoint

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmcv._ext')

from helpers.small_runs import write_config  # noqa: E402

pytestmark = pytest.mark.reliability
KILLS = int(os.environ.get('MMREST_TEST_KILLS', 8))  # for each kind of run

# Writes down each loss to its last digit. Writing a checkpoint takes a while, so that kills fall into it.
RECORD = """
import os
import time
from mmengine.hooks import Hook
from mmengine.registry import HOOKS
from mmrest.utils import fileio

def write(file, content):
    parts = 20
    for part in range(parts):
        file.write(content[len(content) * part // parts:len(content) * (part + 1) // parts])
        file.flush()
        time.sleep(0.05)

if os.environ.get('SLOW_WRITES'):
    fileio._write = write

@HOOKS.register_module()
class RecordLoss(Hook):
    priority = 'HIGHEST'
    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
        with open(f'losses_{runner.rank}.txt', 'a') as file:
            file.write(f'{runner.iter + 1} {outputs["loss"].item().hex()}\\n')
"""


class Run:
    """A run of tools/train.py in a folder of its own."""

    def __init__(self, repo: Path, data: Path, folder: Path, kind: str, workers: int, processes: int = 1) -> None:
        self.folder, self.processes = folder, processes
        config = write_config(folder, kind, repo, data, workers, ", 'record'", "dict(type='RecordLoss')")
        (folder / 'record.py').write_text(RECORD)
        self.template = 'epoch_{}.pth' if kind == 'epochs' else 'iter_{}.pth'
        launch = (
            []
            if processes == 1
            else [
                '-m',
                'torch.distributed.run',
                f'--nproc_per_node={processes}',
                f'--master_port={31000 + os.getpid() % 2000}',
            ]
        )
        self.command = [
            sys.executable,
            *launch,
            str(repo / 'tools/train.py'),
            config,
            '--work-dir',
            'run',
            '--resume',
            *(['--launcher', 'pytorch'] if processes > 1 else []),
        ]
        self.environment = {
            **os.environ,
            'OMP_NUM_THREADS': '1',
            'SLOW_WRITES': '1',
            'PYTHONPATH': os.pathsep.join([str(folder), os.environ.get('PYTHONPATH', '')]),
        }

    def finish(self) -> None:
        run_process(self.command, self.folder, self.environment)

    def start(self) -> subprocess.Popen:
        with (self.folder / 'log').open('a') as log:
            return subprocess.Popen(
                self.command,
                cwd=self.folder,
                env=self.environment,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill_when(self, condition) -> bool:
        """Start, and kill with all processes of it once the condition holds; False if it ends before."""
        process = self.start()
        deadline = time.time() + 180
        while not condition():
            if process.poll() is not None:
                assert process.returncode == 0, (self.folder / 'log').read_text()[-3000:]
                return False
            assert time.time() < deadline, (self.folder / 'log').read_text()[-3000:]
            time.sleep(0.005)
        # A launcher's processes are in groups of their own, and would live on without it.
        family = [process.pid, *descendants(process.pid)]
        for pid in family:
            try:
                os.kill(pid, signal.SIGKILL)
            except ProcessLookupError:
                pass
        process.wait()
        return True

    def losses(self, rank: int = 0) -> list[tuple[int, str]]:
        path = self.folder / f'losses_{rank}.txt'
        lines = path.read_text().splitlines() if path.exists() else []
        return [
            (int(step), loss) for step, loss in (line.split() for line in lines if line.count(' ') == 1 and 'p' in line)
        ]

    def has_losses(self, number: int) -> Callable[[], bool]:
        return lambda: len(self.losses()) >= number

    def partial(self) -> bool:
        """A file is being written."""
        return any((self.folder / 'run').glob('.*.partial'))


def descendants(pid: int) -> list[int]:
    """The processes that a process has started, and those that these have."""
    parents = {}
    for stat in Path('/proc').glob('[0-9]*/stat'):
        try:
            parents[int(stat.parent.name)] = int(stat.read_text().rpartition(')')[2].split()[1])
        except (OSError, ValueError, IndexError):  # it has ended meanwhile
            pass
    found = [pid]
    for parent in found:
        found += [child for child, of in parents.items() if of == parent]
    return found[1:]


class HeldFor:
    """Condition that another one has held for some seconds, or held that long ago."""

    def __init__(self, condition: Callable[[], bool], seconds: float) -> None:
        self.condition, self.seconds, self.since = condition, seconds, None

    def __call__(self) -> bool:
        if self.since is None and self.condition():
            self.since = time.time()
        return self.since is not None and time.time() - self.since > self.seconds


def compare(run: Run, whole: Run, tally) -> None:
    for rank in range(run.processes):
        expected = dict(whole.losses(rank))
        assert len(expected) == len(whole.losses(rank)) >= 12
        assert {step for step, _ in run.losses(rank)} == expected.keys()
        for step, loss in run.losses(rank):  # every time that the step was run
            assert loss == expected[step], step
        tally('losses compared', len(run.losses(rank)))
    assert not run.partial()


@pytest.mark.parametrize('kind, workers', [('epochs', 2), ('epochs', 0), ('iterations', 2), ('iterations', 0)])
def test_training_killed_at_random_has_the_losses_of_an_uninterrupted_run(repo, shapes, tmp_path, tally, kind, workers):
    whole = Run(repo, shapes, tmp_path / 'whole', kind, workers)
    whole.finish()
    run = Run(repo, shapes, tmp_path / 'run', kind, workers)
    chance = random.Random(f'{kind}{workers}')
    killed = writing = 0
    for number in range(KILLS):
        before = len(run.losses())
        if number % 2:  # somewhere in the writing of a checkpoint or of the note of it
            condition = HeldFor(run.partial, chance.random())
        else:  # some steps on, and then at any moment of a step
            condition = HeldFor(run.has_losses(before + chance.randrange(1, 5)), 0.3 * chance.random())
        if not run.kill_when(condition):
            break
        killed += 1
        writing += run.partial()
        # What there is under the name of a checkpoint is whole, and so is the newest.
        found = find_latest_checkpoint(run.folder / 'run', run.template)
        files = list((run.folder / 'run').glob(run.template.format('*')))
        assert (found is None) == (not files)
        if found:
            assert found[0] == max(files, key=lambda path: int(re.findall(r'\d+', path.name)[0]))
    run.finish()
    compare(run, whole, tally)
    assert killed >= 2
    tally('runs killed', killed)
    tally('runs killed while a file was half written', writing)


@pytest.mark.parametrize('kind', ['epochs', 'iterations'])
def test_training_two_processes_killed_has_the_losses_of_an_uninterrupted_run(repo, shapes, tmp_path, tally, kind):
    """Random numbers of both processes are those of an uninterrupted run."""
    whole = Run(repo, shapes, tmp_path / 'whole', kind, 1, processes=2)
    whole.finish()
    assert dict(whole.losses(0)) != dict(whole.losses(1))
    run = Run(repo, shapes, tmp_path / 'run', kind, 1, processes=2)
    for steps in (5, 10):
        if run.kill_when(run.has_losses(steps)):
            tally('runs killed')
    run.finish()
    compare(run, whole, tally)


def test_training_disk_full_keeps_the_last_checkpoint_and_resumes(repo, shapes, tmp_path, tally):
    """A limit on the size of files, which the run's third checkpoint exceeds; then there is room again."""
    run = Run(repo, shapes, tmp_path / 'run', 'epochs', 0)
    assert run.kill_when(lambda: (run.folder / 'run/epoch_2.pth').exists())
    size = (run.folder / 'run/epoch_2.pth').stat().st_size
    limited = ['bash', '-c', f'ulimit -f {size // 1024 - 8}; exec "$@"', '-', *run.command]
    out = run_process(limited, run.folder, run.environment, status=2)
    assert re.search(
        r'error: .*/epoch_3.pth could not be written: File too large.*The last good checkpoint is '
        r'.*epoch_2.pth',
        out,
    ), out[-2000:]
    assert 'Traceback' not in out and not run.partial()
    assert sorted(path.name for path in (run.folder / 'run').glob('*.pth')) == ['epoch_1.pth', 'epoch_2.pth']
    out = run_process(run.command, run.folder, run.environment)
    assert (run.folder / 'run/epoch_4.pth').exists() and 'resumed epoch: 2' in out
    tally('failed writes')


def test_resume_broken_checkpoint_is_named_and_the_one_before_used(repo, shapes, tmp_path, tally):
    run = Run(repo, shapes, tmp_path / 'run', 'iterations', 0)
    run.finish()
    newest = run.folder / 'run/iter_20.pth'
    newest.write_bytes(newest.read_bytes()[:-1000])
    out = run_process(run.command, run.folder, run.environment)
    assert 'iter_20.pth' in out and 'Not resuming from' in out and 'resumed epoch: 0, iter: 15' in out
    by_step: dict[int, set] = {}
    for step, loss in run.losses():
        by_step.setdefault(step, set()).add(loss)
    assert len(run.losses()) == 25
    assert {step: losses for step, losses in by_step.items() if len(losses) != 1} == {}
    newest.write_bytes(b'')
    out = run_process([*run.command, 'run/iter_20.pth'], run.folder, run.environment, status=2)
    assert 'error: ' in out and 'iter_20.pth is empty' in out and 'Traceback' not in out
    assert (
        json.dumps(sorted(path.name for path in (run.folder / 'run').glob('*.pth'))) == '["iter_15.pth", "iter_20.pth"]'
    )
    tally('damaged checkpoints recognized')
