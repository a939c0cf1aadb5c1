"""Models from configs and checkpoints, with the test pipeline that prepares their images."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.logging import MMLogger
from mmengine.registry import DATASETS, MODELS, init_default_scope
from torch import Tensor, nn

from ..backbones import ResT, ResTAblation, ResTv2, ResTv2Ablation
from ..checkpoints import load_pretrained
from ..datasets.images import find_truncation
from ..engine import UsageError, load_config
from ..engine.data import base_datasets
from ..engine.devices import replace_sync_bn

BACKBONES = dict(ResT=ResT, ResTv2=ResTv2, ResTAblation=ResTAblation, ResTv2Ablation=ResTv2Ablation)


@dataclass
class LoadedModel:
    """Model with its test pipeline and classes.

    Attributes:
        name (str): For titles and files.
        model (nn.Module): Detector, segmentor or classifier, in evaluation mode.
        pipeline (Callable): From ``dict(img_path=...)`` to what the model's data preprocessor takes.
        scope (str): 'mmdet', 'mmseg', 'mmpretrain' or other.
        class_names (tuple[str]): Empty where the config names none.
        palette (tuple): RGB colors of the classes; empty where the config names none.
    """

    name: str
    model: nn.Module
    pipeline: Callable[[dict], dict]
    scope: str
    class_names: tuple[str, ...] = ()
    palette: tuple[tuple[int, ...], ...] = ()

    @property
    def backbone(self) -> nn.Module:
        return self.model.backbone

    def prepare(self, path: Path) -> dict[str, Any]:
        """Read an image and bring it to the form of the model's input.

        Returns:
            dict: ``inputs``, (1, 3, H, W) float32 and normalized, and ``data_samples``.

        Raises:
            UsageError: It cannot be read.
        """
        return self.open(path)[0]

    def open(self, path: Path) -> tuple[dict[str, Any], np.ndarray]:
        """Do as :meth:`prepare`, and return beside it the image as the pipeline read it.

        Raises:
            UsageError: It cannot be read, or the pipeline cannot deal with it.
        """
        fault = find_truncation(path) if Path(path).is_file() else None
        if fault:
            raise UsageError(f'{path} cannot be read as an image: it {fault}.')
        data, image = dict(img_path=str(path), img_id=0), None
        for step in getattr(self.pipeline, 'transforms', [self.pipeline]):
            try:
                data = step(data)
            except Exception as error:  # mmcv's readers differ in this, and its transforms pass on OpenCV's errors
                where = (
                    'read as an image'
                    if image is None
                    else f'used: {type(step).__name__} fails at {image.shape[1]}x{image.shape[0]} px'
                )
                raise UsageError(f'{path} cannot be {where}: {error or type(error).__name__}') from error
            if image is None and isinstance(data.get('img'), np.ndarray):
                image = data['img'].copy()  # before transforms that write into it
        return self.model.data_preprocessor(pseudo_collate([data]), False), image

    def displayable(self, inputs: Tensor) -> np.ndarray:
        """A prepared image (3, H, W) as the picture that it was, (H, W, 3) RGB in [0, 1]."""
        preprocessor = self.model.data_preprocessor
        image = inputs.detach().float()
        if getattr(preprocessor, 'mean', None) is not None:
            image = (image * preprocessor.std.view(-1, 1, 1) + preprocessor.mean.view(-1, 1, 1)) / 255
        # Images are read as BGR; each library has a name of its own for turning them.
        names = ('_channel_conversion', 'channel_conversion', 'to_rgb')
        turned = any(getattr(preprocessor, name, False) for name in names)
        return (image if turned else image.flip(0)).clamp(0, 1).cpu().numpy().transpose(1, 2, 0)


def init_model(
    config: str,
    checkpoint: str,
    options: dict[str, Any] | None = None,
    device: str | torch.device = 'cpu',
    testing: bool = False,
) -> LoadedModel:
    """Build the model of a config and fill it.

    Args:
        config (str): Config file of any detector, segmentor or classifier that has a backbone.
        checkpoint (str): Its weights; 'none' for such as training would start with, with seed 0.
        options (dict, optional): Dotted keys to values, merged into the config.
        device (str | torch.device): Where the model goes.
        testing (bool): Its predictions count: every head has to be filled.

    Raises:
        UsageError: A file is missing, or the config has no backbone or no test pipeline.
        CheckpointError: The checkpoint cannot be read, or does not fit.
    """
    cfg = load_config(config, options)
    if checkpoint != 'none' and '://' not in checkpoint and not Path(checkpoint).is_file():
        raise UsageError(f"There is no checkpoint {checkpoint}. (Write none for a model's initial weights.)")
    datasets = list(base_datasets(cfg.get('test_dataloader')))
    if not datasets or not datasets[0].get('pipeline'):
        raise UsageError(f'{config} has no test_dataloader, whose pipeline would say how images are prepared.')
    with torch.random.fork_rng():
        torch.manual_seed(0)  # so that initial weights are the same every time
        model = build_model(cfg, config)
        if checkpoint == 'none':
            _init_weights(model)
    if checkpoint != 'none':
        load_pretrained(model, checkpoint, testing=testing)
    # There are no annotations of images in a folder.
    steps = [step for step in datasets[0].pipeline if 'Annotations' not in step['type']]
    try:
        model = model.to(device).eval()
    except (AssertionError, RuntimeError) as error:  # torch is not of one mind on this
        raise UsageError(f'The device {device} cannot be used here: {error}') from error
    name = Path(config).stem + ' (initial weights)' * (checkpoint == 'none')
    return LoadedModel(name, model, Compose(steps), cfg.get('default_scope') or 'mmengine', *_classes(datasets[0]))


def build_model(cfg: Config, name: str) -> nn.Module:
    """Build the model of a config as a runner would; its weights are not initialized yet.

    Args:
        cfg (Config): Changed in place to fit the machine; its scope becomes the default one.
        name (str): Of the config, for messages.

    Raises:
        UsageError: The model has no backbone, cannot be built, or needs a package that is not installed.
    """
    if not (cfg.get('model') or {}).get('backbone'):
        raise UsageError(f'{name} has no model with a backbone to look at.')
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    replace_sync_bn(cfg)
    if cfg.get('data_preprocessor'):
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    try:
        return MODELS.build(cfg.model)
    except (AssertionError, ImportError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f'The model of {name} cannot be built: {error}') from error


def build_backbone(name: str, arch: str | None = None, options: dict[str, Any] | None = None) -> nn.Module:
    """Build a backbone of this package on its own.

    Args:
        name (str): A key of ``BACKBONES``.
        arch (str, optional): Its architecture; default: the backbone's.
        options (dict, optional): Further arguments of the backbone.

    Raises:
        UsageError: There is no such backbone, or it refuses an argument.
    """
    if name not in BACKBONES:
        raise UsageError(f'There is no backbone {name}: choose from {", ".join(BACKBONES)}, or give a config.')
    try:
        return BACKBONES[name](**({'arch': arch} if arch else {}), **(options or {}))
    except (TypeError, ValueError) as error:
        raise UsageError(str(error)) from error


def image_channels(model: nn.Module) -> int:
    """Return the channels of the images that a model takes: those of its first convolution; 3 where it has none."""
    return next((module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d)), 3)


def _init_weights(model: nn.Module) -> None:
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)  # else every parameter is a line
    model.init_weights()
    logger.setLevel(level)


def _classes(dataset: dict) -> tuple[tuple[str, ...], tuple]:
    """Names and colors of a dataset's classes, as its config or else its type gives them."""
    with DATASETS.switch_scope_and_registry(None) as registry:  # that of the default scope, which has its own
        known = getattr(registry.get(dataset.get('type', '')), 'METAINFO', {})
    own = dataset.get('metainfo') or {}
    classes = own.get('classes') or known.get('classes', ())
    palette = own.get('palette') or known.get('palette') or ()
    return (classes,) if isinstance(classes, str) else tuple(classes), tuple(map(tuple, palette))
