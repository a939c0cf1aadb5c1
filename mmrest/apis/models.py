"""Models from configs and checkpoints, with the test pipelines that prepare their images.

The ``init_model`` functions of mmdet and mmseg and ``get_model`` of mmpretrain serve one library each, read checkpoints
with pickle, and keep initial weights without an error where a checkpoint does not fit.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Callable, Mapping

import numpy as np
import torch
from mmengine.config import Config
from mmengine.dataset import Compose, pseudo_collate
from mmengine.logging import MMLogger, print_log
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
    """Model with its test pipeline and its classes.

    Attributes:
        name (str): Name for titles and messages.
        model (nn.Module): Detector, segmentor or classifier, in evaluation mode.
        pipeline (Callable): From ``dict(img_path=...)`` to the input of the data preprocessor.
        scope (str): Scope of the config, e.g. 'mmdet', 'mmseg' or 'mmpretrain'.
        class_names (tuple[str]): Names of the classes; empty if neither the checkpoint nor the config has any.
        palette (tuple): RGB colors of the classes; empty if there are none.
    """

    name: str
    model: nn.Module
    pipeline: Callable[[dict], dict]
    scope: str
    class_names: tuple[str, ...] = ()
    palette: tuple[tuple[int, ...], ...] = ()

    @property
    def backbone(self) -> nn.Module:
        """Backbone of the model."""
        return self.model.backbone

    def prepare(self, path: Path) -> dict[str, Any]:
        """Read an image and convert it to the input of the model.

        Args:
            path (Path): Image file.

        Returns:
            dict: ``inputs`` (1, 3, H, W) float32, normalized, and ``data_samples``.

        Raises:
            UsageError: The image cannot be read, or the pipeline fails on it.
        """
        return self.prepare_with_image(path)[0]

    def prepare_with_image(self, path: Path) -> tuple[dict[str, Any], np.ndarray]:
        """Prepare an image as :meth:`prepare` does, and return it with the image as the pipeline reads it.

        Args:
            path (Path): Image file.

        Returns:
            tuple[dict, np.ndarray]: Input of the model, and image (H, W, C).

        Raises:
            UsageError: The image cannot be read, or the pipeline fails on it.
        """
        fault = find_truncation(path) if Path(path).is_file() else None
        if fault:
            raise UsageError(f'{path} cannot be read as an image: it {fault}.')
        data, image = dict(img_path=str(path), img_id=0), None
        for step in getattr(self.pipeline, 'transforms', [self.pipeline]):
            try:
                data = step(data)
            except Exception as error:  # readers and transforms raise errors of many types
                where = (
                    'read as an image'
                    if image is None
                    else f'used: {type(step).__name__} fails at {image.shape[1]}x{image.shape[0]} px'
                )
                raise UsageError(f'{path} cannot be {where}: {error or type(error).__name__}') from error
            if image is None and isinstance(data.get('img'), np.ndarray):
                image = data['img'].copy()  # transforms may change it in place
        return self.model.data_preprocessor(pseudo_collate([data]), False), image

    def denormalize(self, inputs: Tensor) -> np.ndarray:
        """Return a prepared image (3, H, W) without normalization, as RGB (H, W, 3) in [0, 1]."""
        preprocessor = self.model.data_preprocessor
        image = inputs.detach().float()
        if getattr(preprocessor, 'mean', None) is not None:
            image = (image * preprocessor.std.view(-1, 1, 1) + preprocessor.mean.view(-1, 1, 1)) / 255
        # Images are read as BGR, and each library has its own attribute for the conversion to RGB.
        names = ('_channel_conversion', 'channel_conversion', 'to_rgb')
        is_rgb = any(getattr(preprocessor, name, False) for name in names)
        return (image if is_rgb else image.flip(0)).clamp(0, 1).cpu().numpy().transpose(1, 2, 0)


def init_model(
    config: str,
    checkpoint: str,
    options: dict[str, Any] | None = None,
    device: str | torch.device = 'cpu',
    testing: bool = False,
) -> LoadedModel:
    """Build the model of a config and load its weights.

    Args:
        config (str): Config file of a detector, segmentor or classifier.
        checkpoint (str): Path or URL of a checkpoint, or 'none' for initial weights with seed 0. The classes that it
            was trained on take precedence over those of the config.
        options (dict, optional): From dotted keys to values, merged into the config.
        device (str | torch.device): Device of the model.
        testing (bool): Require that the checkpoint fills every head, as for predictions and exports.

    Returns:
        LoadedModel: The model in evaluation mode, with its pipeline and classes.

    Raises:
        UsageError: A file is missing, or the config has no backbone or no test pipeline.
        CheckpointError: The checkpoint cannot be read, or does not fit.
    """
    cfg = load_config(config, options)
    if checkpoint != 'none' and '://' not in checkpoint and not Path(checkpoint).is_file():
        raise UsageError(f'There is no checkpoint {checkpoint}. (Give none for initial weights.)')
    datasets = list(base_datasets(cfg.get('test_dataloader')))
    if not datasets or not datasets[0].get('pipeline'):
        raise UsageError(f'{config} has no test_dataloader with a pipeline, which prepares the images.')
    with torch.random.fork_rng():
        torch.manual_seed(0)  # for reproducible initial weights
        model = build_model(cfg, config)
        if checkpoint == 'none':
            _init_weights(model)
    meta = load_pretrained(model, checkpoint, testing=testing).meta if checkpoint != 'none' else {}
    # Images of a folder have no annotations to load.
    steps = [step for step in datasets[0].pipeline if 'Annotations' not in step['type']]
    try:
        model = model.to(device).eval()
    except (AssertionError, RuntimeError) as error:  # depends on the device
        raise UsageError(f'The device {device} cannot be used here: {error}') from error
    name = Path(config).stem + ' (initial weights)' * (checkpoint == 'none')
    scope = cfg.get('default_scope') or 'mmengine'
    return LoadedModel(name, model, Compose(steps), scope, *choose_classes(datasets[0], meta))


def build_model(cfg: Config, name: str) -> nn.Module:
    """Build the model of a config as a runner does, without calling ``init_weights``.

    Args:
        cfg (Config): Config, changed in place to fit the machine; its scope becomes the default scope.
        name (str): Name of the config for messages.

    Raises:
        UsageError: The config has no model with a backbone, the model cannot be built, or a package is missing.
    """
    if not (cfg.get('model') or {}).get('backbone'):
        raise UsageError(f'{name} has no model with a backbone.')
    init_default_scope(cfg.get('default_scope') or 'mmengine')
    replace_sync_bn(cfg)
    if cfg.get('data_preprocessor'):
        cfg.model.setdefault('data_preprocessor', cfg.data_preprocessor)
    try:
        return MODELS.build(cfg.model)
    except (AssertionError, ImportError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f'The model of {name} cannot be built: {error}') from error


def build_backbone(name: str, arch: str | None = None, options: dict[str, Any] | None = None) -> nn.Module:
    """Build a backbone of this package.

    Args:
        name (str): A key of :data:`BACKBONES`.
        arch (str, optional): Architecture; default: that of the class.
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
    """Return the number of image channels that a model takes, from its first convolution; 3 without a convolution."""
    return next((module.in_channels for module in model.modules() if isinstance(module, nn.Conv2d)), 3)


def _init_weights(model: nn.Module) -> None:
    logger = MMLogger.get_current_instance()
    level = logger.level
    logger.setLevel(logging.WARNING)  # init_weights logs a line for every parameter
    model.init_weights()
    logger.setLevel(level)


def choose_classes(dataset: dict, meta: Mapping[str, Any]) -> tuple[tuple[str, ...], tuple[tuple[int, ...], ...]]:
    """Choose the classes of a model: those that its weights were trained on, or else those of a dataset.

    Args:
        dataset (dict): Config of a dataset of the default scope, whose ``metainfo`` precedes that of its type; may be
            empty.
        meta (Mapping): ``meta`` of a checkpoint, which may have ``dataset_meta``.

    Returns:
        tuple[tuple[str], tuple[tuple[int]]]: Names of the classes and their RGB colors; each empty if there are none.
    """
    with DATASETS.switch_scope_and_registry(None) as registry:  # the registry of the default scope
        known = getattr(registry.get(dataset['type']), 'METAINFO', {}) if dataset.get('type') else {}
    own, trained = dataset.get('metainfo') or {}, meta.get('dataset_meta')
    # Checkpoints of mmengine's first versions have CLASSES and PALETTE.
    trained = {str(key).lower(): value for key, value in trained.items()} if isinstance(trained, dict) else {}
    given = _names(own)
    classes = _names(trained) or given or _names(known)
    if given and given != classes:
        print_log(
            f'The checkpoint was trained on the classes {", ".join(classes)}, and the config has {", ".join(given)}: '
            'those of the checkpoint are used.',
            logger='current',
            level=logging.WARNING,
        )
    palettes = [_colors(each) for each in (own if given in ((), classes) else {}, trained, known)]
    return classes, next((colors for colors in palettes if len(colors) == len(classes)), ())


def _names(metainfo: dict[str, Any]) -> tuple[str, ...]:
    classes = metainfo.get('classes') or ()
    return tuple(map(str, classes)) if isinstance(classes, (list, tuple)) else (str(classes),)


def _colors(metainfo: dict[str, Any]) -> tuple[tuple[int, ...], ...]:
    palette = metainfo.get('palette')
    if not isinstance(palette, (list, tuple)) or not all(isinstance(color, (list, tuple)) for color in palette):
        return ()  # mmdet also knows names of palettes
    return tuple(map(tuple, palette))
