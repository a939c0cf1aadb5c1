"""Class-activation maps of detectors, segmentors and classifiers.

The package grad-cam, https://github.com/jacobgil/pytorch-grad-cam, computes the maps; this module gives it a
differentiable score of a class for the models of mmdet, mmseg and mmpretrain.
"""

from __future__ import annotations

import sys
from contextlib import contextmanager
from copy import deepcopy
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Iterator, Sequence
from unittest import mock

import numpy as np
import torch
from torch import Tensor, nn

from ..apis import LoadedModel
from ..engine import UsageError
from ..utils.figures import new_figure, save_figure
from ..utils.progress import track

METHODS = {
    'gradcam': 'GradCAM',
    'gradcam++': 'GradCAMPlusPlus',
    'layercam': 'LayerCAM',
    'hirescam': 'HiResCAM',
    'eigencam': 'EigenCAM',
}


@dataclass
class ActivationMap:
    """Class-activation map of one image in one model.

    Attributes:
        cam (np.ndarray, optional): (H, W) in [0, 1], in the size of the model's input; None if the model does not
            predict the class in this image.
        score (float): Highest score of a detection of the class, share of its pixels, or its probability.
        region (np.ndarray, optional): (H, W) bool, true in the predicted boxes or pixels of the class; None in
            classification.
    """

    cam: np.ndarray | None
    score: float
    region: np.ndarray | None

    @property
    def share_inside(self) -> float:
        """Share of the sum of the map that lies in the region of the class; nan without map or region."""
        if self.cam is None or self.region is None or not self.cam.sum():
            return float('nan')
        return float(self.cam[self.region].sum() / self.cam.sum())


def import_grad_cam() -> Any:
    """Import the package grad-cam.

    Raises:
        UsageError: grad-cam or torchvision, which it needs, cannot be imported.
    """
    try:
        import pytorch_grad_cam
    except (ImportError, RuntimeError) as error:  # torchvision built for another torch raises RuntimeError
        raise UsageError(
            'Class-activation maps need the package grad-cam, and a torchvision that goes with the '
            f'installed torch: pip install grad-cam torchvision\n({error})'
        ) from error
    return pytorch_grad_cam


class _Explained(nn.Module):
    """Model as a function of the image alone, with a probe module on one output of the backbone."""

    def __init__(self, loaded: LoadedModel, data_samples: Any, stage: int) -> None:
        super().__init__()
        self.model, self.data_samples, self.stage = loaded.model, data_samples, stage
        self.probe = nn.Identity()
        self.handle = loaded.backbone.register_forward_hook(self._insert_probe)

    def _insert_probe(self, module: nn.Module, inputs: tuple, outputs: Any) -> Any:
        if isinstance(outputs, Tensor):
            outputs = self.probed = self.probe(_differentiable(outputs))
            return outputs
        if not -len(outputs) <= self.stage < len(outputs):
            raise UsageError(f'The backbone emits {len(outputs)} maps; there is no stage {self.stage} among them.')
        outputs = list(outputs)
        outputs[self.stage] = self.probed = self.probe(_differentiable(outputs[self.stage]))
        return tuple(outputs)

    def forward(self, inputs: Tensor) -> list:
        with _differentiable_detections():
            return self.model(inputs, deepcopy(self.data_samples), mode='predict')  # predict writes into them


@contextmanager
def _differentiable_detections() -> Iterator[None]:
    """Keep the dense heads of mmdet from detaching the scores before they select detections."""
    heads = sys.modules.get('mmdet.models.dense_heads.base_dense_head')
    if heads is None:
        yield
        return
    select = heads.select_single_mlvl
    with mock.patch.object(heads, 'select_single_mlvl', lambda maps, image, detach=True: select(maps, image, False)):
        yield


def _differentiable(x: Tensor) -> Tensor:
    """Return a map that requires a gradient, also of a frozen backbone."""
    return x.detach().requires_grad_() if torch.is_grad_enabled() and not x.requires_grad else x


def predict(loaded: LoadedModel, data: dict) -> Any:
    """Return the prediction for one prepared image, a data sample of the model's library."""
    with torch.no_grad():
        return loaded.model(data['inputs'], deepcopy(data['data_samples']), mode='predict')[0]


def most_likely_class(loaded: LoadedModel, result: Any, score_thr: float = 0.0) -> int | None:
    """Return the class of the detection with the highest score, of most pixels, or of the highest probability.

    Args:
        loaded (LoadedModel): The model.
        result (BaseDataElement): From :func:`predict`.
        score_thr (float): Detections below this score are ignored.

    Returns:
        int | None: Index of the class, never that of a class called 'background' in segmentation; None if there is no
        detection or no pixel of another class.

    Raises:
        UsageError: The model predicts neither boxes, nor a label map, nor a class.
    """
    if 'pred_instances' in result:
        found = result.pred_instances
        return int(found.labels[found.scores.argmax()]) if (found.scores >= score_thr).any() else None
    if 'seg_logits' in result:
        counts = torch.bincount(result.pred_sem_seg.data.flatten(), minlength=len(result.seg_logits.data))
        if 'background' in loaded.class_names:
            counts[loaded.class_names.index('background')] = 0
        return int(counts.argmax()) if counts.any() else None
    if 'pred_score' in result:
        return int(result.pred_score.argmax())
    raise UsageError(f'{loaded.name} predicts neither boxes, nor a label map, nor a class.')


def class_evidence(result: Any, label: int, score_thr: float) -> tuple[Tensor | None, float, Any]:
    """Return the evidence for a class as a differentiable number, as a score, and as the region of the class.

    The number is the sum of the log-odds of the detections above the threshold, the mean logit over the pixels of
    the class, or the log-odds of the class. Log-odds keep a gradient where a score saturates near 1.

    Returns:
        tuple[Tensor | None, float, Any]: The number, None if the class is not predicted; the score; and boxes (n, 4),
        a mask (H, W) or None, in the size of the original image.
    """
    if 'pred_instances' in result:
        found = result.pred_instances
        chosen = (found.labels == label) & (found.scores >= score_thr)
        best = found.scores[found.labels == label].max().item() if (found.labels == label).any() else 0.0
        return (found.scores[chosen].logit(eps=1e-6).sum() if chosen.any() else None), best, found.bboxes[chosen]
    if 'seg_logits' in result:
        region = result.pred_sem_seg.data[0] == label
        logits = result.seg_logits.data[min(label, len(result.seg_logits.data) - 1)]
        return (logits[region].mean() if region.any() else None), region.float().mean().item(), region
    return result.pred_score[label].logit(eps=1e-6), result.pred_score[label].item(), None


def compute_cam(
    loaded: LoadedModel,
    data: dict,
    label: int,
    method: str = 'layercam',
    stages: Sequence[int] | None = None,
    score_thr: float = 0.3,
) -> ActivationMap:
    """Compute the class-activation map of one prepared image.

    Args:
        loaded (LoadedModel): The model.
        data (dict): From :meth:`LoadedModel.prepare`.
        label (int): Index of the class.
        method (str): A key of :data:`METHODS`. 'gradcam' and 'gradcam++' weigh whole channels and localize poorly
            in images with several objects.
        stages (Sequence[int], optional): Indices of the outputs of the backbone to average over. Default: all.
        score_thr (float): Detections below this score are ignored.

    Raises:
        UsageError: There is no such stage, or the head detaches its scores from the backbone.
    """
    make = getattr(import_grad_cam(), METHODS[method])
    number, score, where = class_evidence(predict(loaded, data), label, score_thr)
    shape = tuple(data['inputs'].shape[-2:])
    region = None if where is None else _region(where, data['data_samples'][0], shape)
    if number is None:
        return ActivationMap(None, score, region)

    def differentiable_evidence(explained: _Explained, result: Any) -> Tensor:
        number, *_ = class_evidence(result, label, score_thr)
        if not number.requires_grad:
            raise UsageError(
                f'The scores that {loaded.name} predicts cannot be traced back to its backbone: its head '
                'cuts them off from the gradient. Try --method eigencam, which needs none.'
            )
        return number + 0 * explained.probed.sum()  # detections on one level may not depend on all maps

    cams = []
    for stage in range(len(loaded.backbone(data['inputs']))) if stages is None else stages:
        explained = _Explained(loaded, data['data_samples'], stage)
        cam = make(explained, [explained.probe])
        try:
            cams.append(cam(data['inputs'], [partial(differentiable_evidence, explained)])[0])
        finally:
            cam.activations_and_grads.release()
            explained.handle.remove()
    return ActivationMap(np.mean(cams, axis=0), score, region)


def _region(where: Tensor, sample: Any, shape: tuple[int, int]) -> np.ndarray:
    """Return boxes (n, 4) or a mask (H, W) of the original image as a mask of the model's input."""
    if where.dtype == torch.bool:
        scaled = nn.functional.interpolate(where[None, None].float(), size=sample.get('img_shape', shape)[:2])[0, 0]
        mask = np.zeros(shape, bool)
        mask[: scaled.shape[0], : scaled.shape[1]] = scaled.cpu().numpy() > 0.5
        return mask
    mask = np.zeros(shape, bool)
    scale = np.tile(sample.get('scale_factor', (1.0, 1.0)), 2)
    for x1, y1, x2, y2 in (where.detach().cpu().numpy() * scale).round().astype(int):
        mask[max(y1, 0) : y2, max(x1, 0) : x2] = True
    return mask


def measure_cam(
    models: Sequence[LoadedModel],
    images: Sequence[Path],
    method: str = 'layercam',
    stages: Sequence[int] | None = None,
    class_name: str | None = None,
    score_thr: float = 0.3,
) -> list[dict]:
    """Compute the class-activation maps of every image in every model.

    Args:
        models (Sequence[LoadedModel]): Models of the same classes.
        images (Sequence[Path]): Image files.
        method (str): As in :func:`compute_cam`, and so the next one.
        stages (Sequence[int], optional): Outputs of the backbone.
        class_name (str, optional): Name of the class. Default: for each image the most likely class of the first
            model.
        score_thr (float): Detections below this score are ignored.

    Returns:
        list[dict]: For each image its ``path``, ``image`` (H, W, 3) in [0, 1], ``class_name``, and ``activations``,
        one for each model; these are empty where the first model predicts nothing.

    Raises:
        UsageError: There is no class of that name, or the models differ in their classes.
    """
    names = models[0].class_names
    if class_name is not None and class_name not in names:
        raise UsageError(f'There is no class {class_name!r}. {models[0].name} has: {", ".join(names) or "no names"}.')
    for other in models[1:]:
        if other.class_names != names:
            raise UsageError(f'{other.name} has other classes than {models[0].name}: the maps cannot be compared.')
    records = []
    for path in track(images, 'Class-activation maps'):
        data = models[0].prepare(path)
        if class_name:
            label = names.index(class_name)
        else:
            label = most_likely_class(models[0], predict(models[0], data), score_thr)
        record = dict(path=path, image=models[0].denormalize(data['inputs'][0]), class_name=None, activations=[])
        if label is not None:
            record['class_name'] = names[label] if label < len(names) else f'class {label}'
            record['activations'] = [
                compute_cam(loaded, loaded.prepare(path), label, method, stages, score_thr) for loaded in models
            ]
        records.append(record)
    return records


def plot_cam(records: Sequence[dict], names: Sequence[str], out: str | Path, method: str) -> Path:
    """Plot a row for each image: the image, and its map in every model with the outline of the predicted region.

    Args:
        records (Sequence[dict]): From :func:`measure_cam`.
        names (Sequence[str]): Names of the models.
        out (str | Path): Image file to write.
        method (str): A key of :data:`METHODS`, for the title.
    """
    figure, axes = new_figure(len(records), 1 + len(names), width=2.6, height=2.9)
    for row, record in zip(axes, records):
        for axis in row:
            axis.axis('off')
            axis.imshow(record['image'])
        row[0].set_title(f'{record["path"].name}\nclass: {record["class_name"] or "nothing found"}', fontsize=8)
        for axis, name, found in zip(row[1:], names, record['activations']):
            height, width = record['image'].shape[:2]
            axis.set_title(f'{name}\nscore {found.score:.2f}', fontsize=7)
            if found.cam is None:
                axis.text(
                    width / 2,
                    height / 2,
                    'not predicted here',
                    ha='center',
                    va='center',
                    fontsize=8,
                    bbox=dict(facecolor='white', alpha=0.8, edgecolor='none'),
                )
                continue
            extent = (-0.5, width - 0.5, height - 0.5, -0.5)  # another model may have another input size
            axis.imshow(found.cam, cmap='jet', alpha=0.5, vmin=0, vmax=1, extent=extent)
            if found.region is not None and found.region.any():
                axis.contour(found.region, levels=[0.5], colors='white', linewidths=1, origin='upper', extent=extent)
    figure.suptitle(
        f'Class-activation maps ({METHODS[method]})\nred: strongest evidence for the class\nwhite outline: prediction',
        fontsize=9,
    )
    return save_figure(figure, out)
