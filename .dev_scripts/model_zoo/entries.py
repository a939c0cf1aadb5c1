"""Entries of the model index: settings of a config, counted costs of its model, and the figures of the papers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import torch
from mmengine.config import Config
from mmengine.registry import MODELS

from mmrest.analysis.complexity import Cost, add_up, count_backbone
from mmrest.analysis.model_cost import count_model
from mmrest.analysis.papers import GMACS, MIOU, PARAMS, printed_figures

# Results of this repository: models trained from scratch on the drawn shapes, on two CPU cores.
MEASURED = {
    'retinanet_rest_lite_fpn_shapes': {'box AP': 72.6, 'box AP50': 93.9, 'box AP75': 83.5},
    'mask_rcnn_rest_lite_fpn_shapes': {'box AP': 80.3, 'mask AP': 78.3},
    'upernet_rest_lite_shapes': {'mIoU': 64.4, MIOU: 72.4},
}
SIZES = ('lite', 'tiny', 'small', 'base', 'large')
TASKS = {'mmdet': 'Object Detection', 'mmseg': 'Semantic Segmentation', 'mmpretrain': 'Image Classification'}
MASKS = 'Instance Segmentation'
# Image sizes (H, W) that costs are counted at; that of ADE20K is the one of the ResTv2 paper.
COCO_SIZE, ADE20K_SIZE = (800, 1280), (512, 2048)


@dataclass
class Entry:
    """Entry of one config.

    Attributes:
        path (str): Path in the repository, e.g. 'configs/published/rest_lite_224_in1k_3rdparty.py'.
        backbone (str): 'ResT' or 'ResTv2'.
        arch (str): 'lite', 'tiny', 'small', 'base' or 'large'.
        variant (str): Arguments of the backbone other than the defaults, e.g. style or output norms.
        method (str): Type of the model, e.g. 'RetinaNet'.
        task (str): 'Object Detection', 'Instance Segmentation', 'Semantic Segmentation' or 'Image Classification'.
        data (str): 'COCO', 'ADE20K', 'ImageNet-1k' or 'drawn shapes'.
        length (int): Number of epochs, or of iterations in segmentation.
        batch (int): Total batch size that the learning rate is meant for.
        techniques (list[str]): Optimizer and training techniques.
        crop (str): Crop size of training in segmentation, e.g. '512x512'; otherwise empty.
        size (tuple[int, int]): (H, W) of the image that costs are counted for.
        costs (list[Cost]): Costs of the parts of the model.
        figures (dict[str, float]): Figures of the papers, or for the drawn shapes measured ones.
    """

    path: str
    backbone: str
    arch: str
    variant: str
    method: str
    task: str
    data: str
    length: int
    batch: int
    techniques: list[str]
    crop: str
    size: tuple[int, int]
    costs: list[Cost] = field(repr=False)
    figures: dict[str, float]

    @property
    def stem(self) -> str:
        """Name of the file without its suffix."""
        return Path(self.path).stem

    @property
    def is_published(self) -> bool:
        """True for a config that tests weights of the authors."""
        return Path(self.path).parent.name == 'published'

    @property
    def is_ablation(self) -> bool:
        """True for a row of an ablation and for its baseline."""
        return Path(self.path).parent.name == 'ablations' or 'ablation' in self.stem

    @property
    def is_measured(self) -> bool:
        """True if the figures were measured with this repository."""
        return self.stem in MEASURED

    @property
    def name(self) -> str:
        """Name in the model index; the suffix '_3rdparty' marks foreign weights, as in OpenMMLab."""
        return self.stem

    @property
    def model(self) -> str:
        """Name of the backbone, e.g. 'ResT-Small'."""
        return f'{self.backbone}-{self.arch.capitalize()}'

    @property
    def by_epoch(self) -> bool:
        """True if training is measured in epochs, false if in iterations."""
        return self.task != TASKS['mmseg']

    @property
    def params(self) -> int:
        """Number of parameters."""
        return add_up(self.costs).params

    @property
    def macs(self) -> int:
        """MACs with attention, of the parts that can be counted."""
        return add_up(self.costs).total

    @property
    def uncounted(self) -> list[str]:
        """Parts of the model that run in testing and are not in :attr:`macs`."""
        return [cost.name for cost in self.costs if cost.layers is None and cost.name != 'auxiliary_head']

    @property
    def metrics(self) -> dict[str, float]:
        """Figures that are results, without costs."""
        return {name: value for name, value in self.figures.items() if name not in (PARAMS, GMACS)}


def config_files(root: Path) -> list[Path]:
    """Return all configs that can be run, by folder, recipe and size of the backbone."""

    def key(path: Path) -> tuple:
        words = path.stem.split('_')
        size = next(i for i, arch in enumerate(SIZES) if arch in words)
        return path.parent.as_posix(), [word for word in words if word not in SIZES], size

    paths = (path for path in (root / 'configs').rglob('*.py') if '_base_' not in path.parts)
    return sorted(paths, key=key)


def describe(path: Path, root: Path) -> Entry:
    """Make the entry of a config, with the costs of its model on the meta device.

    Args:
        path (Path): Config file.
        root (Path): Folder that holds ``configs/``.

    Raises:
        UsageError: Its model cannot be built.
    """
    cfg = Config.fromfile(path)
    backbone, scope = cfg.model.backbone, cfg.default_scope
    data, size = _data_and_size(cfg)
    return Entry(
        path=path.relative_to(root).as_posix(),
        backbone=backbone.type.removesuffix('Ablation'),
        arch=backbone.arch,
        variant=_variant(backbone),
        method='UPerNet' if scope == 'mmseg' else cfg.model.type,
        task=MASKS if 'roi_head' in cfg.model and cfg.model.roi_head.get('mask_head') else TASKS[scope],
        data=data,
        length=cfg.train_cfg.get('max_epochs') or cfg.train_cfg.max_iters,
        batch=cfg.auto_scale_lr.base_batch_size,
        techniques=_techniques(cfg),
        crop='x'.join(
            str(side)
            for step in cfg.train_dataloader.dataset.pipeline
            if step['type'] == 'RandomCrop'
            for side in step['crop_size']
        )
        if scope == 'mmseg'
        else '',
        size=size,
        costs=_count_classifier(cfg, size) if scope == 'mmpretrain' else count_model(cfg, str(path), size),
        figures=MEASURED.get(path.stem) or printed_figures(path.stem),
    )


def _data_and_size(cfg: Config) -> tuple[str, tuple[int, int]]:
    """Return the name of the data set, and the (H, W) that costs are counted at."""
    steps = {step['type']: step for step in cfg.test_dataloader.dataset.pipeline}
    if 'shapes' in str(cfg.get('data_root', '')):
        width, height = steps['Resize'].scale if 'Resize' in steps else (128, 128)
        return 'drawn shapes', (height, width)
    if cfg.default_scope == 'mmpretrain':
        side = steps['CenterCrop'].crop_size if 'CenterCrop' in steps else steps['Resize'].scale[0]
        return 'ImageNet-1k', (side, side)
    return ('ADE20K', ADE20K_SIZE) if cfg.default_scope == 'mmseg' else ('COCO', COCO_SIZE)


def _variant(backbone: dict) -> str:
    """Return the arguments of the backbone that differ from the defaults."""
    usual = ('type', 'arch', 'out_indices', 'drop_path_rate')
    return ', '.join(f'{key}={value}' for key, value in backbone.items() if key not in usual)


def _techniques(cfg: Config) -> list[str]:
    wrapper = cfg.optim_wrapper
    return [
        name
        for name, used in (
            (wrapper.optimizer.type, True),
            ('Weight Decay', wrapper.optimizer.get('weight_decay')),
            ('Layer-wise Learning Rate Decay', wrapper.get('paramwise_cfg', {}).get('layer_decay_rate')),
            ('Mixed Precision', wrapper.get('type') == 'AmpOptimWrapper'),
            ('Gradient Clipping', wrapper.get('clip_grad')),
            ('EMA', any(hook.type == 'EMAHook' for hook in cfg.get('custom_hooks', []))),
        )
        if used
    ]


def _count_classifier(cfg: Config, size: tuple[int, int]) -> list[Cost]:
    """Count backbone and linear layer without building the classifier, as mmpretrain needs torchvision for that."""
    head = cfg.model.head
    if head.type != 'LinearClsHead':
        raise ValueError(f'The head of a classifier is counted as LinearClsHead, not as {head.type}.')
    with torch.device('meta'):
        backbone = MODELS.build(cfg.model.backbone)
    costs, _ = count_backbone(backbone, size)
    products = head.in_channels * head.num_classes
    return [*costs, Cost('head', products + head.num_classes, products, 0)]
