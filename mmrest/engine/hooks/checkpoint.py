"""Checkpoints of a run: written whole or not at all, and the old ones kept until then."""

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
    """mmengine's CheckpointHook, safe against being interrupted at any moment.

    On local disks, a checkpoint and the note ``last_checkpoint`` are written whole or not at all. Older
    checkpoints are removed only when the new one is there, so there is room needed for one more than
    ``max_keep_ckpts``.
    """

    def before_train(self, runner: Runner) -> None:
        """Set up the storage; clean up behind a run that was killed."""
        super().before_train(runner)
        if not (self.backend_args or self.file_client_args) and '://' not in str(self.out_dir):
            self.backend_args = dict(backend=ATOMIC_BACKEND)
            self.file_backend = get_file_backend(backend_args=self.backend_args)
            if is_main_process():
                for folder in {str(self.out_dir), runner.work_dir}:
                    for path in remove_partial_files(folder):
                        runner.logger.info(f'Removed {path}, left by a run that was killed while it wrote it.')
        if runner._resume and runner._load_from:
            # Without it, a new best checkpoint before the first regular one would not be saved for resuming.
            self.last_ckpt = str(runner._load_from)

    def _save_checkpoint_with_step(self, runner: Runner, step: int, meta: dict) -> None:
        """Save a checkpoint, then the note of it, and only then remove what ``max_keep_ckpts`` leaves no room for."""
        surplus = []
        counts = self.max_keep_ckpts > 0 and (not self.keep_ckpt_ids or self.keep_ckpt_ids[-1] != step)
        if counts:
            ids = [*self.keep_ckpt_ids, step]
            surplus = ids[: -self.max_keep_ckpts]
            # With the surplus: should the run be killed before it is removed, the resumed one does that.
            runner.message_hub.update_info('keep_ckpt_ids', ids)
        name = self.filename_tmpl.format(step)
        before, self.last_ckpt = self.last_ckpt, self.file_backend.join_path(self.out_dir, name)
        runner.message_hub.update_info('last_ckpt', self.last_ckpt)
        with self._exit_on_user_error(before):
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
        """Save the best checkpoint so far, and only then remove the one before it."""
        backend = self.file_backend
        self.file_backend = later = _RemoveLater(backend)
        try:
            with self._exit_on_user_error(self.last_ckpt):
                super()._save_best_checkpoint(runner, metrics)
        finally:
            self.file_backend = backend
        best = [getattr(self, 'best_ckpt_path', None), *getattr(self, 'best_ckpt_path_dict', {}).values()]
        for path in later.paths:
            if path not in best:  # a resumed run may have saved it under the same name again
                self._remove(path)

    def _remove(self, path: str) -> None:
        if self.file_backend.isfile(path):
            self.file_backend.remove(path)
        elif self.file_backend.isdir(path):  # as other libraries save them
            self.file_backend.rmtree(path)

    @contextmanager
    def _exit_on_user_error(self, before: str | None) -> Iterator[None]:
        """Say of a checkpoint that could not be written what is left."""
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
                f'{name} could not be written: {reason}. Nothing of it was left behind. {last} Make '
                'room, then go on with --resume.'
            ) from error


class _RemoveLater:
    """A storage backend that notes what it is to remove."""

    def __init__(self, backend: Any) -> None:
        self.backend = backend
        self.paths: list[str] = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self.backend, name)

    def remove(self, path: str) -> None:
        self.paths.append(path)

    rmtree = remove
