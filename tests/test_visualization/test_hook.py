"""Painted validation images, sent to a stand-in for TensorBoard."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

pytest.importorskip('mmcv')
cv2 = pytest.importorskip('cv2')

from mmengine.structures import BaseDataElement, InstanceData  # noqa: E402

from mmrest.visualization.hook import PaintValidationHook  # noqa: E402


class FakeRunner:
    """A runner with ten validation batches of one image, which keeps the images that it is sent."""

    def __init__(self, path, rank: int = 0):
        self.val_dataloader = _Loader()
        self.rank, self.iter, self.images = rank, 7, {}
        self.visualizer = SimpleNamespace(get_backend=lambda name: self)
        found = InstanceData(
            bboxes=torch.tensor([[4.0, 4, 40, 40]]), labels=torch.tensor([0]), scores=torch.tensor([0.9])
        )
        self.sample = BaseDataElement(pred_instances=found)
        self.sample.set_metainfo(dict(img_path=str(path)))

    def add_image(self, name, picture, step):
        self.images[name] = picture, step


class _Loader(list):
    dataset = SimpleNamespace(metainfo=dict(classes=('disc',), palette=[(255, 0, 0)]))

    def __len__(self):
        return 10


@pytest.fixture
def image(tmp_path):
    path = tmp_path / 'gray.png'
    cv2.imwrite(str(path), np.full((64, 64, 3), 128, np.uint8))
    return path


def test_validation_hook_paints_the_same_images_spread_over_the_dataset(image):
    runner, hook = FakeRunner(image), PaintValidationHook(num_images=3)
    seen = []
    for batch_idx in range(10):
        before = len(runner.images)
        hook.after_val_iter(runner, batch_idx, outputs=[runner.sample])
        seen += [batch_idx] * (len(runner.images) - before)
    assert seen == [0, 4, 9] and list(runner.images) == ['val/image_1', 'val/image_2', 'val/image_3']
    picture, step = runner.images['val/image_1']
    assert step == 7 and (np.abs(picture.astype(int) - (255, 0, 0)).max(-1) < 3).any()


def test_validation_hook_on_another_rank_paints_nothing(image):
    runner = FakeRunner(image, rank=1)
    PaintValidationHook().after_val_iter(runner, 0, outputs=[runner.sample])
    assert runner.images == {}
