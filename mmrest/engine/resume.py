"""Finding out before a run starts what it is resumed from."""

from __future__ import annotations

import logging
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from ..checkpoints import download
from ..checkpoints.downloads import WEB
from ..checkpoints.states import check_state, find_last_state
from .resume_checks import check_unfinished


def prepare_resume(cfg: Config, source: str) -> None:
    """Name the checkpoint to resume from in the config, if there is one, and take over its random seed.

    Args:
        cfg (Config): Changed in place: ``resume``, ``load_from``, ``randomness.seed``.
        source (str): A file, or 'auto' for the newest whole checkpoint of the config's work dir.

    Raises:
        CheckpointError: The file is not whole or no state of a run; or none of the checkpoints in the work dir is.
        RunFinished: The run has nothing left to train.
    """
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    optimizer = hook.get('save_optimizer', True)
    if source == 'auto':
        folder = Path(cfg.work_dir)
        if hook.get('out_dir'):
            if '://' in str(hook.out_dir):  # left to mmengine
                cfg.resume, cfg.load_from = True, None
                return
            folder = Path(hook.out_dir) / folder.name
        default = 'epoch_{}.pth' if hook.get('by_epoch', True) else 'iter_{}.pth'
        found = find_last_state(folder, hook.get('filename_tmpl') or default, optimizer)
        if found is None:
            cfg.resume = False
            _report_nothing(folder, hook.get('filename_tmpl') or default)
            return
        path, meta = found
    elif '://' in source and not source.startswith(WEB):  # left to mmengine
        cfg.resume, cfg.load_from = True, source
        return
    else:
        path = download(source) if source.startswith(WEB) else source
        meta = check_state(path, optimizer)
    check_unfinished(cfg, str(path), meta)
    cfg.resume, cfg.load_from = True, str(path)
    # mmengine takes the seed over as well, but only after it has built the data loader with another one.
    seed = meta.get('seed')
    if type(seed) is int:
        if not cfg.get('randomness'):
            cfg.randomness = dict(seed=None)
        # What setdefault() returns is not what it keeps.
        randomness = cfg.randomness
        if randomness.get('seed') not in (None, seed):
            print_log(
                f'The run that is resumed has the random seed {seed}, which counts; the config has '
                f'{randomness["seed"]}.',
                logger='current',
                level=logging.WARNING,
            )
        randomness['seed'] = seed


def _report_nothing(folder: Path, template: str) -> None:
    """Say that a run starts from the beginning, and name checkpoints in its folder that are not named as its own."""
    pattern = template.replace('{}', '*')
    others = sorted(path.name for path in folder.glob('*.pth') if not path.match(pattern))
    text = f'There is no checkpoint in {folder} to resume from: starting from the beginning.'
    if others:
        text = (
            f'There is no {pattern} in {folder} to resume from: starting from the beginning. To resume from '
            f'another file there ({", ".join(others[:3])}{", ..." if len(others) > 3 else ""}), name it: '
            '--resume PATH'
        )
    print_log(text, logger='current', level=logging.WARNING if others else logging.INFO)
