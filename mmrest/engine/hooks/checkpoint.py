"""Atomic checkpoints of a run."""

from __future__ import annotations

from contextlib import contextmanager
from pathlib import Path
from typing import Any, Iterator

from mmengine.dist import is_main_process
from mmengine.fileio import get_file_backend
from mmengine.hooks import CheckpointHook
from mmengine.runner import Runner

from ...checkpoints import CheckpointError
from ...utils.fileio import ATOMIC_BACKEND, atomic_write, remove_partial_files


class AtomicCheckpointHook(CheckpointHook):
    """mmengine's CheckpointHook, safe against interruption at any time.

    On local disks, checkpoints and the file ``last_checkpoint`` are written atomically. Older checkpoints are removed
    only after the new one is written, which needs disk space for ``max_keep_ckpts + 1`` checkpoints.
    """

    def before_train(self, runner: Runner) -> None:
        """Set up atomic writing, and remove temporary files of killed runs."""
        super().before_train(runner)
        if not (self.backend_args or self.file_client_args) and '://' not in str(self.out_dir):
            self.backend_args = dict(backend=ATOMIC_BACKEND)
            self.file_backend = get_file_backend(backend_args=self.backend_args)
            if is_main_process():
                for folder in {str(self.out_dir), runner.work_dir}:
                    for path in remove_partial_files(folder):
                        runner.logger.info(f'Removed {path}, a temporary file of a killed run.')
        if runner._resume and runner._load_from:
            # A best checkpoint saved before the first regular one needs it for resuming.
            self.last_ckpt = str(runner._load_from)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save a checkpoint and ``last_checkpoint``, then remove the oldest ones beyond ``max_keep_ckpts``."""
        surplus = []
        counts = self.max_keep_ckpts > 0 and (not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step)
        if counts:
            ids = [*self.keep_ckpt_ids, step]
            surplus = ids[: -self.max_keep_ckpts]
            # Including the surplus, so that a resumed run removes it if this one is killed before.
            runner.message_hub.update_info('keep_ckpt_ids', ids)
        name = self.filename_tmpl.format(step)
        before, self.last_ckpt = self.last_ckpt, self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        with self._checkpoint_errors(before):
            runner.save_checkpoint(
                self.out_dir,
                name,
                self.file_client_args,
                save_optimizer=self.save_optimizer,
                save_param_scheduler=self.save_param_scheduler,
                meta=meta,
                by_epoch=self.by_epoch,
                backend_args=self.backend_args,
                **self.args,
            )
            if is_main_process():
                atomic_write(Path(runner.work_dir) / 'last_checkpoint', str(self.last_ckpt).encode())
        if counts:
            self.keep_ckpt_ids.append(step)
        if is_main_process():
            for old in surplus:
                self._remove(self.file_backend.join_path(self.out_dir, self.filename_tmpl.format(old)))

    def _save_best_checkpoint(self, runner: Runner, metrics: dict) -> None:
        """Save a new best checkpoint, then remove the previous one."""
        backend = self.file_backend
        self.file_backend = deferred = _DeferredRemoval(backend)
        try:
            with self._checkpoint_errors(self.last_ckpt):
                super()._save_best_checkpoint(runner, metrics)
        finally:
            self.file_backend = backend
        best = [getattr(self, 'best_ckpt_path', None), *getattr(self, 'best_ckpt_path_dict', {}).values()]
        for path in deferred.paths:
            if path not in best:  # a resumed run may save it under the same name again
                self._remove(path)

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):  # sharded checkpoints are folders
            self.file_backend.rmtree(path)

    @contextmanager
    def _checkpoint_errors(self, before: str | None) -> Iterator[None]:
        """Turn an OSError into a CheckpointError that names the last good checkpoint.

        Args:
            before (str, optional): Path of the previous checkpoint.
        """
        try:
            yield
        except OSError as error:
            last = (
                f'The last good checkpoint is {before}.'
                if before and Path(before).is_file()
                else 'There is no earlier one.'
            )
            name, reason = error.filename or 'A checkpoint', error.strerror or error
            raise CheckpointError(
                f'{name} could not be written: {reason}. Nothing of it was left behind. {last} Free some '
                'disk space, then continue with --resume.'
            ) from error


class _DeferredRemoval:
    """Storage backend that collects paths instead of removing them."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.paths: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        self.paths.append(path)

    rmtree = remove
