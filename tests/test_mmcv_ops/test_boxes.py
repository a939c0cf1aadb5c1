"""Non-maximum suppression."""

from __future__ import annotations

import pytest
import torch
from mmcv_cases import boxes

from mmrest.mmcv_ops import extension

pytest.importorskip('torchvision')


def test_nms_of_equal_scores_differs_from_torchvision():
    """torchvision alone keeps other boxes, so nms sorts by itself."""
    import torchvision

    b, _ = boxes(300)
    scores = torch.ones(300)
    ours = extension.nms(b, scores, 0.5, 0)
    assert not torch.equal(ours, torchvision.ops.nms(b, scores, 0.5))
