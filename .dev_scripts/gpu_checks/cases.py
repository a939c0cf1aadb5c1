"""Cases of a part: run one after another in a process that a fault of the GPU may end, each result written at once."""

from __future__ import annotations

import time
import traceback
from dataclasses import dataclass
from pathlib import Path
from typing import Callable, Sequence

import torch

from .results import DEVICE_LOST, FAILED, OK, OUT_OF_TIME, RUNNING, SKIPPED, Settings, read_results, write_results


class Skip(Exception):
    """A case that cannot be run here; the message says why."""


@dataclass(frozen=True)
class Case:
    """One check or measurement.

    Attributes:
        name (str): Unique in its part.
        run (Callable): Returns what was found, as a dict that JSON can hold; of its keys, ``summary`` is printed, and
            with ``problems``, a list of sentences, the case has failed. It may raise :class:`Skip`.
        seconds (float): How much of the part's time has to be left for it to start.
        limit (float): Seconds after which it is given up.
    """

    name: str
    run: Callable[[], dict]
    seconds: float = 1.0
    limit: float = 30.0


def need_gpu(settings: Settings, what: str) -> None:
    """Skip the case on a CPU."""
    if not settings.on_gpu:
        raise Skip(f'{what} needs a GPU')


def is_lost(device: str) -> bool:
    """Tell whether the GPU of this process answers no longer, as after an illegal access to its memory."""
    if not device.startswith('cuda'):
        return False
    try:
        torch.cuda.synchronize(device)
        torch.zeros(1, device=device).item()
    except torch.OutOfMemoryError:
        return False
    except RuntimeError:
        return True
    return False


def run_cases(cases: Sequence[Case], path: Path, deadline: float, device: str, **more: object) -> int:
    """Run the cases whose results a file lacks, and write each into it.

    Args:
        cases (Sequence[Case]): In the order to run them in.
        path (Path): File of results; those in it are kept.
        deadline (float): Time, as ``time.time()`` gives it, after which none starts.
        device (str): Where they run.
        **more: Written into the file beside the results.

    Returns:
        int: Exit status of the process: 0, or :data:`DEVICE_LOST`, and then another process can go on.
    """
    content = {**read_results(path), **more}
    rows = content['rows']
    done = {row['case'] for row in rows}
    for case in cases:
        if case.name in done:
            continue
        row = dict(case=case.name, status=RUNNING, started=time.time(), limit=case.limit)
        rows.append(row)
        if deadline - time.time() < case.seconds:
            row.update(status=SKIPPED, summary=OUT_OF_TIME)
            write_results(path, content)
            continue
        write_results(path, content)
        row.update(outcome(case))
        row['seconds'] = time.time() - row.pop('started')
        del row['limit']
        write_results(path, content)
        if row['status'] == FAILED and is_lost(device):
            return DEVICE_LOST
        if device.startswith('cuda'):
            torch.cuda.empty_cache()
    return 0


def outcome(case: Case) -> dict:
    """Run a case and return what came of it, whatever it raised."""
    try:
        found = case.run()
    except Skip as error:
        return dict(status=SKIPPED, summary=str(error))
    except Exception as error:
        return dict(status=FAILED, summary=first_line(error), traceback=traceback.format_exc()[-3000:])
    problems = found.get('problems')
    if problems:
        return dict(found, status=FAILED, summary='; '.join([*problems[:3], *(['...'] if len(problems) > 3 else [])]))
    return dict(found, status=OK)


def first_line(error: BaseException) -> str:
    """Return the kind of an error and the first line of its message."""
    return f'{type(error).__name__}: {(str(error).strip().splitlines() or [""])[0]}'[:300]
