"""Export targets: models as functions from image tensors to tensors.

Preprocessing is not part of the graph, which takes normalized images; the metadata of the file give mean and standard
deviation. Non-maximum suppression is not part of it either: see :func:`mmrest.export.apply_nms`.
"""

from __future__ import annotations

import json
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, Sequence

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..apis import LoadedModel, build_backbone, image_channels, init_model
from ..checkpoints import load_pretrained
from ..engine import UsageError
from ..layers import EMSAv2
from .pooling import replace_adaptive_pools

PARTS = ('auto', 'backbone', 'model')
SEGMENTATION_OUTPUTS = ('logits', 'labels')


@dataclass
class Target:
    """Model to export.

    Attributes:
        name (str): Name for messages and metadata.
        task (str): 'backbone', 'detection' or 'segmentation'.
        original (nn.Module): Unchanged model as a function from images (B, C, H, W) to a tuple of tensors.
        outputs (dict[str, str]): Names and descriptions of these tensors.
        metadata (dict[str, str]): Further metadata of the file.
    """

    name: str
    task: str
    original: nn.Module
    outputs: dict[str, str]
    metadata: dict[str, str] = field(default_factory=dict)

    @property
    def in_channels(self) -> int:
        """Number of channels of the images."""
        return image_channels(self.original)

    @property
    def has_windows(self) -> bool:
        """True for attention in windows, whose number and shapes depend on the size of the image."""
        return any(isinstance(module, EMSAv2) and module.window_size is not None for module in self.original.modules())

    def exportable(self) -> nn.Module:
        """Return an equivalent copy of the model with operators that can be exported at dynamic sizes."""
        module = deepcopy(self.original).eval()
        replace_adaptive_pools(module)
        return module


class FeatureMaps(nn.Module):
    """Backbone that returns its feature maps as a tuple."""

    def __init__(self, backbone: nn.Module) -> None:
        super().__init__()
        self.backbone = backbone

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return maps (B, C_i, H_i, W_i) of the stages in ``out_indices`` for images (B, C, H, W)."""
        return tuple(self.backbone(images))


class DecodedBoxes(nn.Module):
    """Dense detector of mmdet that returns all decoded boxes, without thresholds and suppression."""

    def __init__(self, detector: nn.Module) -> None:
        super().__init__()
        self.detector = detector

    def forward(self, images: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return boxes (B, N, 4), scores (B, N, classes) and pyramid levels (N,) for images (B, 3, H, W)."""
        head = self.detector.bbox_head
        all_scores, all_deltas = head(self.detector.extract_feat(images))
        sizes = [x.shape[-2:] for x in all_scores]
        priors = head.prior_generator.grid_priors(sizes, all_scores[0].dtype, images.device)
        scores = torch.cat([_by_prior(x, head.cls_out_channels) for x in all_scores], dim=1)
        deltas = torch.cat([_by_prior(x, head.bbox_coder.encode_size) for x in all_deltas], dim=1)
        scores = scores.sigmoid() if head.use_sigmoid_cls else scores.softmax(-1)[..., :-1]
        batch = images.shape[0]
        boxes = head.bbox_coder.decode(torch.cat(priors).repeat(batch, 1), deltas.flatten(0, 1))
        boxes = boxes.unflatten(0, (batch, -1))
        if head.bbox_coder.clip_border:
            width, height = boxes.new_full((1,), images.shape[-1]), boxes.new_full((1,), images.shape[-2])
            boxes = torch.minimum(boxes.clamp(min=0), torch.cat([width, height, width, height]))
        levels = torch.cat([torch.full((p.shape[0],), i, device=images.device) for i, p in enumerate(priors)])
        return boxes, scores, levels


class ResizedLogits(nn.Module):
    """Segmentor of mmseg that returns logits in the size of the image, labels, or both.

    Args:
        segmentor (nn.Module): EncoderDecoder of mmseg; it runs on the whole image in any test mode.
        outputs (Sequence[str]): 'logits', 'labels' or both.
    """

    def __init__(self, segmentor: nn.Module, outputs: Sequence[str] = SEGMENTATION_OUTPUTS) -> None:
        super().__init__()
        self.segmentor = segmentor
        self.outputs = tuple(outputs)

    def forward(self, images: Tensor) -> tuple[Tensor, ...]:
        """Return logits (B, classes, H, W), int64 labels (B, H, W), or both, for images (B, 3, H, W)."""
        head = self.segmentor.decode_head
        logits = head(self.segmentor.extract_feat(images))
        logits = F.interpolate(logits, size=images.shape[-2:], mode='bilinear', align_corners=False)
        if logits.shape[1] > 1:
            labels = logits.argmax(1)
        else:
            labels = (logits[:, 0].sigmoid() > head.threshold).long()
        found = dict(logits=logits, labels=labels)
        return tuple(found[name] for name in self.outputs)


def _by_prior(x: Tensor, channels: int) -> Tensor:
    """Rearrange (B, priors * channels, H, W) to (B, H * W * priors, channels), in the order of the priors of mmdet."""
    return x.permute(0, 2, 3, 1).flatten(1).unflatten(1, (-1, channels))


def backbone_target(
    name: str, arch: str | None = None, checkpoint: str | None = None, options: dict[str, Any] | None = None
) -> Target:
    """Make the target of a backbone of this package.

    Args:
        name (str): A key of :data:`mmrest.apis.BACKBONES`.
        arch (str, optional): Architecture; default: that of the class.
        checkpoint (str, optional): Checkpoint of the backbone or of a model with it; default: initial weights.
        options (dict, optional): Further arguments of the backbone.

    Raises:
        UsageError: There is no such backbone, or it refuses an argument.
        CheckpointError: The checkpoint cannot be read, or does not fit.
    """
    backbone = build_backbone(name, arch, options)
    if checkpoint:
        load_pretrained(backbone, checkpoint)
    return _of_backbone(f'{name} {arch or ""}'.strip(), backbone.eval())


def config_target(
    config: str,
    checkpoint: str | None = None,
    options: dict[str, Any] | None = None,
    part: str = 'auto',
    outputs: Sequence[str] = SEGMENTATION_OUTPUTS,
) -> Target:
    """Make the target of a config: RetinaNet up to decoded boxes, UPerNet up to logits, or the backbone of any model.

    Args:
        config (str): Config file.
        checkpoint (str, optional): Checkpoint of the model; default: initial weights.
        options (dict, optional): From dotted keys to values, merged into the config.
        part (str): 'model' or 'auto' for the whole model, 'backbone' for the backbone alone.
        outputs (Sequence[str]): Outputs of a segmentor, 'logits', 'labels' or both.

    Raises:
        UsageError: The config cannot be used, or its model cannot be exported as a whole.
        CheckpointError: The checkpoint cannot be read, or does not fit.
    """
    # A backbone alone may have output norms that published files lack; a whole model with a random part is wrong.
    loaded = init_model(config, checkpoint or 'none', options, testing=part != 'backbone')
    if part == 'backbone':
        target = _of_backbone(loaded.name, loaded.backbone)
    else:
        target = _whole(loaded, tuple(outputs))
    target.metadata.update(_preprocessing(loaded.model.data_preprocessor))
    return target


def _of_backbone(name: str, backbone: nn.Module) -> Target:
    if getattr(backbone, 'out_indices', None) is None:
        raise UsageError(f'The backbone of {name} has no out_indices, which name its outputs.')
    strides = getattr(backbone, 'out_strides', None)
    outputs = {f'stage{i + 1}': 'float32 (batch, channels, rows, columns)' for i in backbone.out_indices}
    for output, stride in zip(outputs, strides or ()):
        outputs[output] += f', stride {stride}'
    return Target(name, 'backbone', FeatureMaps(backbone).eval(), outputs)


def _whole(loaded: LoadedModel, outputs: tuple[str, ...]) -> Target:
    if loaded.scope == 'mmdet':
        from mmdet.models import RetinaHead

        head = getattr(loaded.model, 'bbox_head', None)
        if not isinstance(head, RetinaHead) or getattr(head.loss_cls, 'custom_cls_channels', False):
            raise _not_whole(loaded, head)
        target = Target(
            loaded.name,
            'detection',
            DecodedBoxes(loaded.model).eval(),
            {
                'boxes': 'float32 (batch, boxes, 4): x1, y1, x2, y2 in pixels of the input, before suppression',
                'scores': 'float32 (batch, boxes, classes): of each class on its own, in [0, 1]',
                'levels': 'int64 (boxes): level of the pyramid that each box comes from, 0 the finest',
            },
            dict(test_cfg=json.dumps(_plain(loaded.model.test_cfg))),
        )
    elif loaded.scope == 'mmseg':
        from mmseg.models import UPerHead

        head = getattr(loaded.model, 'decode_head', None)
        if not isinstance(head, UPerHead):
            raise _not_whole(loaded, head)
        if head.align_corners:
            raise UsageError(
                f'{loaded.name} resizes maps with align_corners=True, which is not exported at dynamic '
                'sizes. Its backbone can be: --part backbone.'
            )
        known = {
            'logits': 'float32 (batch, classes, height, width), resized to the input',
            'labels': 'int64 (batch, height, width): index of the class of each pixel',
        }
        chosen = {name: known[name] for name in SEGMENTATION_OUTPUTS if name in outputs}
        if not chosen or set(outputs) - set(known):
            raise UsageError(f'A segmentor has the outputs {" and ".join(known)}; got {", ".join(outputs) or "none"}.')
        target = Target(
            loaded.name,
            'segmentation',
            ResizedLogits(loaded.model, tuple(chosen)).eval(),
            chosen,
            dict(test_mode='whole'),
        )
    else:
        raise _not_whole(loaded, getattr(loaded.model, 'head', None))
    target.metadata['classes'] = json.dumps(loaded.class_names)
    return target


def _not_whole(loaded: LoadedModel, head: Any) -> UsageError:
    kind = type(loaded.model).__name__ + (f' with {type(head).__name__}' if isinstance(head, nn.Module) else '')
    return UsageError(
        f'{loaded.name} is a {kind}. Exported whole are RetinaNet (RetinaHead) and UPerNet (UPerHead); '
        'of any other model the backbone can be exported: --part backbone.'
    )


def _preprocessing(preprocessor: nn.Module) -> dict[str, str]:
    """Return metadata on the work of the data preprocessor, which is not part of the graph."""
    metadata = {}
    if getattr(preprocessor, 'mean', None) is not None:
        metadata['mean'] = json.dumps([round(float(x), 6) for x in preprocessor.mean.flatten()])
        metadata['std'] = json.dumps([round(float(x), 6) for x in preprocessor.std.flatten()])
    # Images are read as BGR, and each library has its own attribute for the conversion to RGB.
    names = ('_channel_conversion', 'channel_conversion', 'to_rgb')
    metadata['channel_order'] = 'RGB' if any(getattr(preprocessor, name, False) for name in names) else 'BGR'
    divisor = getattr(preprocessor, 'pad_size_divisor', None) or getattr(preprocessor, 'size_divisor', None)
    if divisor and divisor > 1:
        metadata['pad_size_divisor'] = str(divisor)
    return metadata


def _plain(value: Any) -> Any:
    """Convert a config to plain dicts and lists."""
    if isinstance(value, dict):
        return {str(key): _plain(item) for key, item in value.items()}
    return [_plain(item) for item in value] if isinstance(value, (list, tuple)) else value
