"""Models that derive their predictions from the annotations, so that tests of a test take no time."""

from __future__ import annotations

import torch
from mmengine.model import BaseModel
from mmengine.registry import MODELS
from mmengine.structures import InstanceData, PixelData


class Stub(BaseModel):
    """Model with a single parameter."""

    def __init__(self, data_preprocessor: dict | None = None) -> None:
        super().__init__(data_preprocessor)
        self.weight = torch.nn.Parameter(torch.zeros(1))

    def forward(self, inputs, data_samples=None, mode='tensor'):
        for sample in data_samples:
            self.predict(sample)
        return data_samples


@MODELS.register_module()
class StubDetector(Stub):
    """Finds all objects but the first of an image, the second one as another class, and a false one in a corner.

    Masks are those of the annotations without their upper half.
    """

    def predict(self, sample) -> None:
        truth = sample.gt_instances
        boxes, labels = truth.bboxes[1:], truth.labels[1:].clone()
        labels[:1] = (labels[:1] + 1) % 4
        corner = torch.tensor([[0.0, 0.0, 3.0, 3.0]])
        found = InstanceData(
            bboxes=torch.cat([boxes, corner]),
            labels=torch.cat([labels, torch.tensor([0])]),
            scores=torch.linspace(0.9, 0.4, len(boxes) + 1),
        )
        if 'masks' in truth:
            masks = torch.as_tensor(truth.masks.to_ndarray()[1:]).bool()
            for mask, box in zip(masks, boxes):
                mask[: int(box[1::2].mean())] = False
            found.masks = torch.cat([masks, torch.zeros(1, *sample.ori_shape, dtype=torch.bool)])
        sample.pred_instances = found


@MODELS.register_module()
class StubSegmentor(Stub):
    """Predicts the label map shifted to the right by eight pixels."""

    def predict(self, sample) -> None:
        sample.pred_sem_seg = PixelData(data=sample.gt_sem_seg.data.roll(8, dims=-1).long())
