"""Configs for training and testing, from a config file and command-line options."""

from __future__ import annotations

import importlib.util
import logging
import os
from copy import deepcopy
from pathlib import Path
from typing import Any

import torch
from mmengine.config import Config, ConfigDict
from mmengine.logging import print_log

from .data import base_datasets, check_batch_sizes, check_consistency, check_data, find_root, is_unused_data_root
from .devices import nested_dicts, replace_amp, use_amp
from .errors import UsageError, describe_missing
from .paths import check_checkpoint, check_target, similar
from .resume import prepare_resume
from .validation import check_weights, drop_worker_settings, validate

# Of files that are given in place of a config where arguments are swapped.
CHECKPOINT_SUFFIXES = ('.pth', '.pt', '.ckpt', '.safetensors')
TENSORBOARD = 'TensorboardVisBackend'


def load_config(
    path: str, options: dict[str, Any] | None = None, work_dir: str | None = None, launcher: str = 'none'
) -> Config:
    """Load a config and merge options into it.

    The option ``data_root`` changes all paths of datasets and evaluators under the ``data_root`` of the config. In
    mmengine it changes only the variable of that name.

    Args:
        path (str): Config file.
        options (dict, optional): Options of ``--cfg-options``, by dotted key.
        work_dir (str, optional): Work dir. Default: that of the config, else ``work_dirs/<config name>``.
        launcher (str): 'none', 'pytorch', 'slurm' or 'mpi'.

    Raises:
        UsageError: The config does not exist, is a checkpoint or cannot be read, a library that it inherits from is
            missing, or the launcher needs GPUs and there are none.
    """
    if launcher not in ('none', 'pytorch') and not torch.cuda.is_available():
        raise UsageError(
            f'--launcher {launcher} needs GPUs, and torch finds none. For several processes on CPUs, use '
            '--launcher pytorch (tools/dist_train.sh).'
        )
    if Path(path).suffix.lower() in CHECKPOINT_SUFFIXES:
        raise UsageError(
            f'{path} is a checkpoint, but stands where the config belongs: the config comes before the checkpoint, '
            'and after images.'
        )
    if not Path(path).is_file():
        raise UsageError(f'There is no config {path}.{similar(Path(path))}')
    try:
        cfg = Config.fromfile(path)
    except Exception as error:
        # A library that the config inherits from or imports; pkg_resources raises DistributionNotFound.
        if isinstance(error, ImportError) or type(error).__name__ == 'DistributionNotFound':
            raise UsageError(describe_missing(path, error)) from error
        if isinstance(error, FileNotFoundError) and error.filename and error.filename != path:
            base = Path(os.path.normpath(error.filename))
            raise UsageError(f'{path} inherits from {base}, which does not exist.{similar(base)}') from error
        raise UsageError(f'{path} cannot be read as a config: {type(error).__name__}: {error}') from error
    if options:
        options = dict(options)
        if 'data_root' in options:
            if not cfg.get('data_root'):
                raise UsageError(
                    f'{path} has no data_root to override: set data_root of its datasets, '
                    'e.g. --cfg-options train_dataloader.dataset.data_root=/path/to/data/'
                )
            _move_data(cfg, find_root(cfg), str(options['data_root']))
        cfg.merge_from_dict(options)
        drop_worker_settings(cfg, options)
    own, root = cfg.get('data_root'), find_root(cfg)
    if own and root != str(own) and is_unused_data_root(Path(path)):
        print_log(
            f'No dataset uses data_root = {own!r} of {path}; they are in {root}. mmengine substitutes data_root '
            'in the file that defines a dataset, not where it is inherited. To change it: --cfg-options '
            f'data_root={own}',
            logger='current',
            level=logging.WARNING,
        )
    cfg.launcher = launcher
    cfg.work_dir = os.path.expanduser(work_dir or cfg.get('work_dir') or Path('work_dirs') / Path(path).stem)
    return cfg


def prepare_train(
    cfg: Config, amp: bool = False, auto_scale_lr: bool = False, resume: str | None = None, tensorboard: bool = False
) -> Config:
    """Apply the training options to a config and check it.

    Args:
        cfg (Config): Config from :func:`load_config`; changed in place.
        amp (bool): Train in mixed precision: float16 on a GPU, bfloat16 on a CPU.
        auto_scale_lr (bool): Scale the learning rate from the base batch size to the actual one.
        resume (str, optional): 'auto' for the latest valid checkpoint in the work dir, if any, else a file.
            Default: the settings of the config.
        tensorboard (bool): Write TensorBoard logs as well.

    Returns:
        Config: ``cfg``.

    Raises:
        UsageError: An option does not fit the config or the machine, or a file is missing.
        CheckpointError: The checkpoint to resume is invalid.
        RunFinished: The run to resume is finished.
    """
    lacking = [key for key in ('model', 'train_dataloader', 'train_cfg', 'optim_wrapper') if not cfg.get(key)]
    if lacking:
        raise UsageError(f'This config has no {", ".join(lacking)} to train with.')
    phases = ('train', 'val') if cfg.get('val_cfg') else ('train',)
    check_data(cfg, phases)
    check_batch_sizes(cfg, phases)
    check_consistency(cfg, phases)
    check_target(cfg.get('work_dir'), '--work-dir')
    if amp:
        kind = cfg.optim_wrapper.get('type', 'OptimWrapper')
        if kind in ('AmpOptimWrapper', 'CPUAmpOptimWrapper'):
            print_log('The config already trains in mixed precision.', logger='current')
        elif kind != 'OptimWrapper':
            raise UsageError(f'--amp works with the optimizer wrapper OptimWrapper, not with {kind}.')
        use_amp(cfg)
    replace_amp(cfg)
    validate(cfg, phases)
    if auto_scale_lr:
        if 'base_batch_size' not in (cfg.get('auto_scale_lr') or {}):
            raise UsageError(
                '--auto-scale-lr needs the batch size that the learning rate is meant for, e.g. '
                '--cfg-options auto_scale_lr.base_batch_size=16'
            )
        cfg.auto_scale_lr.enable = True
    if not resume and cfg.get('resume'):
        resume = cfg.get('load_from') or 'auto'
    if tensorboard:
        _add_tensorboard(cfg)
    if resume:
        if resume != 'auto':
            check_checkpoint(resume)
        prepare_resume(cfg, resume)
    if cfg.get('load_from'):
        check_checkpoint(cfg.load_from)
    check_weights(cfg)
    return cfg


def _add_tensorboard(cfg: Config) -> None:
    """Add a TensorBoard backend to the visualizer of a config."""
    if importlib.util.find_spec('tensorboard') is None:
        raise UsageError('--tensorboard needs the package tensorboard, which is not installed: pip install tensorboard')
    if not cfg.get('visualizer'):
        cfg.visualizer = ConfigDict(type='Visualizer', vis_backends=[dict(type='LocalVisBackend')])
    backends = list(cfg.visualizer.get('vis_backends') or [])
    if not any(backend.get('type') == TENSORBOARD for backend in backends):
        cfg.visualizer.vis_backends = [*backends, dict(type=TENSORBOARD)]


def prepare_test(
    cfg: Config,
    checkpoint: str,
    out: str | None = None,
    show: bool = False,
    show_dir: str | None = None,
    wait_time: float = 2,
    tta: bool = False,
    amp: bool = False,
) -> Config:
    """Apply the test options to a config and check it.

    Args:
        cfg (Config): Config from :func:`load_config`; changed in place.
        checkpoint (str): Checkpoint to test.
        out (str, optional): Output of predictions: a folder in segmentation, else a ``.pkl`` file.
        show (bool): Show each image with its predictions in a window for ``wait_time`` seconds.
        show_dir (str, optional): Folder for images with predictions.
        wait_time (float): Time per image in seconds.
        tta (bool): Test-time augmentation of the config. Default in detection: horizontal flips.
        amp (bool): Test in mixed precision: float16 on a GPU, bfloat16 on a CPU.

    Returns:
        Config: ``cfg``.

    Raises:
        UsageError: An option does not fit the config, or data or the checkpoint are missing.
    """
    if not (cfg.get('test_dataloader') and cfg.get('test_evaluator')):
        raise UsageError('This config has no test_dataloader and test_evaluator to test with.')
    validate(cfg, ('test',))
    check_data(cfg, ('test',))
    check_batch_sizes(cfg, ('test',))
    check_consistency(cfg, ('test',))
    check_checkpoint(checkpoint)
    segmentation = cfg.get('default_scope') == 'mmseg'
    check_target(cfg.get('work_dir'), '--work-dir')
    check_target(show_dir, '--show-dir')
    check_target(out, '--out', folder=segmentation)
    cfg.load_from = checkpoint
    check_weights(cfg, train=False)
    scope = cfg.get('default_scope')
    if show or show_dir:
        if not (cfg.get('default_hooks') or {}).get('visualization') or not cfg.get('visualizer'):
            raise UsageError('--show and --show-dir need default_hooks.visualization and a visualizer in the config.')
        hook = cfg.default_hooks.visualization
        hook['enable' if scope == 'mmpretrain' else 'draw'] = True
        hook.interval = 1  # every image; mmseg's default is every 50th
        hook.update(dict(show=show, wait_time=wait_time))
        if show_dir:
            # mmdet's hook joins a relative folder to itself again at every image.
            folder = str(Path(show_dir).resolve())
            if segmentation:
                cfg.visualizer.save_dir = folder  # used by mmseg's hook
            else:
                hook['out_dir' if scope == 'mmpretrain' else 'test_out_dir'] = folder
    if tta:
        _switch_to_tta(cfg, scope)
    if amp:
        cfg.test_cfg.fp16 = True
    if out:
        evaluators = cfg.test_evaluator if isinstance(cfg.test_evaluator, list) else [cfg.test_evaluator]
        if segmentation:
            for evaluator in evaluators:
                evaluator.update(dict(output_dir=out, keep_results=True))
        elif not out.endswith(('.pkl', '.pickle')):
            raise UsageError(f'--out takes a .pkl file here, got {out}.')
        else:
            kind = 'DumpDetResults' if scope == 'mmdet' else 'DumpResults'
            cfg.test_evaluator = [*evaluators, dict(type=kind, out_file_path=out)]
    return cfg


def _switch_to_tta(cfg: Config, scope: str | None) -> None:
    if scope == 'mmdet' and any('mask_head' in part for part in nested_dicts(cfg.model)):
        raise UsageError('--tta does not work here: mmdet has no test-time augmentation for masks.')
    if scope != 'mmdet' and not (cfg.get('tta_model') and cfg.get('tta_pipeline')):
        raise UsageError('--tta needs tta_model and tta_pipeline in the config, except in detection.')
    datasets = list(base_datasets(cfg.test_dataloader))
    pipeline = datasets[0].pipeline
    if not cfg.get('tta_model'):
        nms = dict(type='nms', iou_threshold=0.5)
        cfg.tta_model = ConfigDict(type='DetTTAModel', tta_cfg=dict(nms=nms, max_per_img=100))
    if not cfg.get('tta_pipeline'):
        pack = deepcopy(pipeline[-1])
        pack.meta_keys = ('img_id', 'img_path', 'ori_shape', 'img_shape', 'scale_factor', 'flip', 'flip_direction')
        flips = [dict(type='RandomFlip', prob=1.0), dict(type='RandomFlip', prob=0.0)]
        cfg.tta_pipeline = [*pipeline[:-1], dict(type='TestTimeAug', transforms=[flips, [pack]])]
    for dataset in datasets:
        dataset.pipeline = cfg.tta_pipeline
    if cfg.get('data_preprocessor'):  # mmengine would pass it to the wrapper
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    cfg.model = ConfigDict(**cfg.tta_model, module=cfg.model)


def _move_data(cfg: Config, old: str, new: str) -> None:
    """Replace the folder ``old`` at the start of paths in datasets and evaluators by ``new``."""
    new = new.rstrip('/') + '/'

    def moved(value: Any) -> Any:
        if isinstance(value, dict):
            for key in value:
                value[key] = moved(value[key])
        elif isinstance(value, (list, tuple)):
            return type(value)(moved(item) for item in value)
        elif isinstance(value, str) and (value + '/').startswith(old.rstrip('/') + '/'):
            return new + value[len(old.rstrip('/')) + 1 :]
        return value

    for phase in ('train', 'val', 'test'):
        for part in (f'{phase}_dataloader', f'{phase}_evaluator'):
            if cfg.get(part):
                cfg[part] = moved(cfg[part])
