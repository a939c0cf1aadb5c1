"""Part 3: detectors and a segmentor trained on the drawn shapes, and what recipes switch on, each for a few steps."""

from __future__ import annotations

import functools
import gc
import math
import os
import socket
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

from mmengine.config import Config
from mmengine.hooks import Hook
from mmengine.runner import Runner

from mmrest.datasets import draw_shapes
from mmrest.engine import build_runner, load_config, prepare_train

from .cases import Case, need_gpu
from .models import TINY
from .results import Settings
from .supervisor import last_line
from .wheels import ROOT

RETINANET, MASK_RCNN, UPERNET = (
    'retinanet_rest_lite_fpn_shapes.py',
    'mask_rcnn_rest_lite_fpn_shapes.py',
    'upernet_rest_lite_shapes.py',
)
# Images to train on and to validate on, and their side.
DATA, DRY_DATA = (400, 80, 128), (8, 4, 64)
EPOCHS, STEPS, SEGMENTOR_STEPS = 2, 6, 50
DIMS = list(TINY['embed_dims'])
NARROW = {
    RETINANET: {
        'model.neck.in_channels': DIMS[1:],
        'model.neck.out_channels': 16,
        'model.bbox_head.in_channels': 16,
        'model.bbox_head.feat_channels': 16,
        'model.bbox_head.stacked_convs': 1,
    },
    MASK_RCNN: {
        'model.neck.in_channels': DIMS,
        'model.neck.out_channels': 16,
        'model.rpn_head.in_channels': 16,
        'model.rpn_head.feat_channels': 16,
        'model.roi_head.bbox_roi_extractor.out_channels': 16,
        'model.roi_head.bbox_head.in_channels': 16,
        'model.roi_head.bbox_head.fc_out_channels': 16,
        'model.roi_head.mask_roi_extractor.out_channels': 16,
        'model.roi_head.mask_head.in_channels': 16,
        'model.roi_head.mask_head.conv_out_channels': 16,
        'model.roi_head.mask_head.num_convs': 1,
    },
    UPERNET: {
        'model.data_preprocessor.size': (64, 64),
        'model.decode_head.in_channels': DIMS,
        'model.decode_head.channels': 16,
        'model.auxiliary_head.in_channels': DIMS[2],
        'model.auxiliary_head.channels': 16,
    },
}
BF16 = {'optim_wrapper.type': 'AmpOptimWrapper', 'optim_wrapper.dtype': 'bfloat16'}
UNVALIDATED = {'val_cfg': None, 'val_dataloader': None, 'val_evaluator': None}
# What is switched on for a few steps: options of the config, and whether the run is given --amp.
FEATURES = {
    'with_cp': ({'model.backbone.with_cp': True}, False),
    'ffn_recompute': ({'model.backbone.ffn_recompute': True}, False),
    'EMA': ({'custom_hooks': [dict(type='EMAHook', momentum=0.01, update_buffers=True)]}, False),
    '--amp': ({}, True),
}


def cases(settings: Settings) -> list[Case]:
    """Return the cases, mixed precision in bfloat16 before that in float16."""
    found = []
    for precision in ('bf16', 'fp16'):
        for name, config in (('RetinaNet', RETINANET), ('Mask R-CNN', MASK_RCNN)):
            resumed = config == RETINANET and precision == 'bf16'
            run = functools.partial(train_detector, settings, config, precision, resumed)
            title = f'{name} {precision}, {EPOCHS} epochs{", resumed" * resumed}'
            found.append(Case(title, run, seconds=8, limit=70))
        if precision == 'bf16':
            for feature in FEATURES:
                run = functools.partial(train_with, settings, feature)
                found.append(Case(f'RetinaNet {feature}, {STEPS} steps', run, seconds=3, limit=30))
            run = functools.partial(train_segmentor, settings)
            found.append(Case('UPerNet bf16', run, seconds=5, limit=40))
            run = functools.partial(train_distributed, settings)
            found.append(Case(f'RetinaNet SyncBN, {STEPS} steps', run, seconds=10, limit=45))
    return found


@functools.cache
def draw(settings: Settings) -> Path:
    """Draw the images, or find those that another process has drawn."""
    train, val, side = DRY_DATA if settings.dry else DATA
    return draw_shapes(Path(settings.folder) / 'shapes', train, val, (side, side))


def common_options(settings: Settings, config: str) -> dict:
    """Return what all runs of a config set."""
    options = {'data_root': f'{draw(settings)}/', 'default_hooks.logger.interval': 10}
    for loader in ('train_dataloader', 'val_dataloader'):
        # Small images are read in no time, but waiting for the end of workers takes seconds a run.
        options.update({f'{loader}.num_workers': 0, f'{loader}.persistent_workers': False})
    if config == RETINANET:
        options['model.test_cfg.score_thr'] = 0.0  # so little training finds nothing with certainty
    if settings.dry:
        options.update(NARROW[config], **{'model.backbone.arch': dict(TINY, _delete_=True)})
        options['train_dataloader.batch_size'] = 4
    return options


@functools.cache
def _config(settings: Settings, config: str) -> Config:
    """Read a config once, since the libraries that it inherits from take seconds; nor is its text laid out."""
    cfg = load_config(str(ROOT / 'configs' / config), common_options(settings, config))
    return Config(cfg.to_dict(), filename=cfg.filename, format_python_code=False)


class StopAfterEpoch(Hook):
    """Interrupts a run as its second epoch begins."""

    class Stopped(Exception):
        """The run was interrupted."""

    def before_train_epoch(self, runner: Runner) -> None:
        if runner.epoch == 1:
            raise self.Stopped


def train(
    settings: Settings,
    config: str,
    name: str,
    options: dict,
    amp: bool = False,
    resume: bool = False,
    stop: bool = False,
) -> Runner:
    """Train as tools/train.py does, and return the runner.

    Args:
        settings (Settings): Of the check.
        config (str): File in configs/.
        name (str): Of the work dir.
        options (dict): As --cfg-options gives them.
        amp (bool): As --amp.
        resume (bool): As --resume.
        stop (bool): Interrupt it after an epoch.
    """
    work = Path(settings.folder) / 'runs' / name
    cfg = deepcopy(_config(settings, config))
    cfg.merge_from_dict(options)
    cfg.work_dir = str(work)
    cfg.experiment_name = f'{name}{"_resumed" * resume}'  # two in one second would share a log
    prepare_train(cfg, amp=amp, resume='auto' if resume else None)
    runner = build_runner(cfg, train=True)
    if stop:
        runner.register_hook(StopAfterEpoch())
    try:
        runner.train()
    except StopAfterEpoch.Stopped:
        pass
    return runner


def losses(runner: Runner) -> list[float]:
    """Return the loss of each step that a runner has taken."""
    values, _ = runner.message_hub.get_scalar('train/loss').data
    return [float(value) for value in values]


def judge_losses(found: list[float], falls: bool) -> list[str]:
    """Return what is wrong with losses: one that is not finite, or with ``falls`` a last third above the first."""
    if not all(math.isfinite(value) for value in found):
        return ['a loss is not finite']
    third = max(len(found) // 3, 1)
    if falls and not sum(found[-third:]) < sum(found[:third]):
        return [f'the loss does not fall: {found[0]:.3g} to {found[-1]:.3g}']
    return []


def report(runner: Runner, falls: bool, words: str = '') -> dict:
    """Return the result of a run, with what validation found, if there was one."""
    found = losses(runner)
    scalars = runner.message_hub.log_scalars
    metrics = {
        key.removeprefix('val/coco/'): scalars[key].current()
        for key in ('val/coco/bbox_mAP', 'val/coco/bbox_mAP_50', 'val/coco/segm_mAP', 'val/coco/segm_mAP_50')
        if key in scalars
    }
    parts = [f'loss {found[0]:.3g} to {found[-1]:.3g} in {len(found)} steps']
    parts += [f'{key} {value:.3f}' for key, value in metrics.items()] + [words] * bool(words)
    return dict(losses=found, metrics=metrics, problems=judge_losses(found, falls), summary=', '.join(parts))


def train_detector(settings: Settings, config: str, precision: str, resumed: bool) -> dict:
    """Train a detector for two epochs in mixed precision, in two runs if it is to be resumed, and validate it."""
    if precision == 'fp16':
        need_gpu(settings, 'mixed precision in float16')
    options = {'train_cfg.max_epochs': EPOCHS, **warmup(50), **(BF16 if precision == 'bf16' else {})}
    name, amp = f'{config.split("_rest")[0]}_{precision}', precision == 'fp16'
    runner = train(settings, config, name, options, amp, stop=resumed)
    before = losses(runner)
    words, problems = '', []
    if resumed:
        del runner
        gc.collect()
        runner = train(settings, config, name, options, amp, resume=True)
        words = f'resumed after {len(before)} steps'
        # Epochs are of one length, so a run that went on has as many steps before as after.
        if runner.iter != 2 * len(before):
            problems = [f'{runner.iter} steps after {len(before)} before the interruption']
    if not settings.on_gpu:
        words = ', '.join([*([words] * bool(words)), 'in float32: mmengine has no mixed precision on a CPU'])
    result = report(runner, falls=not settings.dry, words=words)
    if not result['metrics']:
        problems.append('no AP')
    return dict(result, problems=result['problems'] + problems)


def warmup(steps: int) -> dict:
    """Return the options of a learning rate that rises for some steps and stays."""
    return {'param_scheduler': [dict(type='LinearLR', start_factor=0.01, by_epoch=False, begin=0, end=steps)]}


def few_steps() -> dict:
    """Return the options of a run of a few steps, without validation and checkpoints."""
    return {
        'train_cfg': dict(type='IterBasedTrainLoop', max_iters=STEPS, _delete_=True),
        'param_scheduler': None,
        'default_hooks.checkpoint': None,
        **UNVALIDATED,
    }


def train_with(settings: Settings, feature: str) -> dict:
    """Train RetinaNet for a few steps with one thing switched on."""
    options, amp = FEATURES[feature]
    if amp:
        need_gpu(settings, 'mixed precision')
    name = f'with_{feature.strip("-")}'
    return report(train(settings, RETINANET, name, {**few_steps(), **options}, amp), falls=False)


def train_segmentor(settings: Settings) -> dict:
    """Train UPerNet in mixed precision."""
    steps = STEPS if settings.dry else SEGMENTOR_STEPS
    options = {'train_cfg.max_iters': steps, 'default_hooks.checkpoint': None, **warmup(10), **UNVALIDATED, **BF16}
    return report(train(settings, UPERNET, 'upernet', options), falls=not settings.dry)


def train_distributed(settings: Settings) -> dict:
    """Train RetinaNet for a few steps as one process of a distributed run, its batch norms synchronized."""
    need_gpu(settings, 'SyncBN')
    folder = Path(settings.folder) / 'runs' / 'sync_bn'
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / 'sync_bn.py'
    cfg = deepcopy(_config(settings, RETINANET))
    cfg.merge_from_dict({**few_steps(), 'sync_bn': 'torch'})
    cfg.dump(config)
    command = [sys.executable, '-W', 'ignore', str(ROOT / 'tools' / 'train.py'), str(config)]
    command += ['--work-dir', str(folder), '--launcher', 'pytorch']
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        port = found.getsockname()[1]
    # What torchrun would set, without its own report of an error around that of the run.
    alone = dict(RANK='0', LOCAL_RANK='0', WORLD_SIZE='1', MASTER_ADDR='127.0.0.1', MASTER_PORT=str(port))
    result = subprocess.run(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env={**os.environ, **alone}
    )
    if result.returncode:
        return dict(output=result.stdout[-4000:], problems=[last_line(result.stdout)])
    return dict(summary='one process of a distributed run')
