"""Selection of the checkpoint to resume from."""

from __future__ import annotations

import logging
from pathlib import Path

from mmengine.config import Config
from mmengine.logging import print_log

from ..checkpoints import fetch
from ..checkpoints.downloads import REMOTE
from ..checkpoints.states import check_state, find_latest_checkpoint
from .resume_checks import check_unfinished


def prepare_resume(cfg: Config, source: str) -> None:
    """Set the checkpoint to resume from in a config, if there is one, and adopt its random seed.

    Args:
        cfg (Config): Full config; ``resume``, ``load_from`` and ``randomness.seed`` are changed in place.
        source (str): File or URL, or 'auto' for the latest valid checkpoint in the work dir.

    Raises:
        CheckpointError: The file, or every checkpoint in the work dir, is invalid or has no training state.
        RunFinished: The run is finished.
    """
    hook = (cfg.get('default_hooks') or {}).get('checkpoint') or {}
    optimizer = hook.get('save_optimizer', True)
    if source == 'auto':
        folder = Path(cfg.work_dir)
        if hook.get('out_dir'):
            if '://' in str(hook.out_dir):  # handled by mmengine
                cfg.resume, cfg.load_from = True, None
                return
            folder = Path(hook.out_dir) / folder.name
        default = 'epoch_{}.pth' if hook.get('by_epoch', True) else 'iter_{}.pth'
        found = find_latest_checkpoint(folder, hook.get('filename_tmpl') or default, optimizer)
        if found is None:
            cfg.resume = False
            _log_no_checkpoint(folder, hook.get('filename_tmpl') or default)
            return
        path, meta = found
    elif '://' in source and not source.startswith(REMOTE):  # handled by mmengine
        cfg.resume, cfg.load_from = True, source
        return
    else:
        path = fetch(source) if source.startswith(REMOTE) else source
        meta = check_state(path, optimizer)
    check_unfinished(cfg, str(path), meta)
    cfg.resume, cfg.load_from = True, str(path)
    # mmengine adopts the seed as well, but only after it has built the data loader.
    seed = meta.get('seed')
    if type(seed) is int:
        if not cfg.get('randomness'):
            cfg.randomness = dict(seed=None)
        # ConfigDict.setdefault() returns a copy.
        randomness = cfg.randomness
        if randomness.get('seed') not in (None, seed):
            print_log(
                f'Using the random seed {seed} of the resumed run instead of {randomness["seed"]} of the config.',
                logger='current',
                level=logging.WARNING,
            )
        randomness['seed'] = seed


def _log_no_checkpoint(folder: Path, template: str) -> None:
    """Log that a run starts from the beginning, and list checkpoints in its folder that have other names."""
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
