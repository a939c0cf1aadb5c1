"""Class-activation maps of models whose evidence is known."""

import numpy as np
import pytest
import torch
from mmengine.structures import BaseDataElement
from torch import nn

from mmrest.analysis import cam
from mmrest.analysis.cam import METHODS, ActivationMap, class_evidence, compute_cam, measure_cam, most_likely_class
from mmrest.apis import LoadedModel, find_images, init_model
from mmrest.engine import UsageError


class Backbone(nn.AvgPool2d):
    def forward(self, x):
        return (super().forward(x),)


class Classifier(nn.Module):
    """A classifier that finds class 0 by red and class 1 by green."""

    def __init__(self):
        super().__init__()
        self.backbone = Backbone(4)
        self.weight = nn.Parameter(torch.ones(1))  # there is a device to be known by

    def forward(self, inputs, data_samples, mode):
        pooled = self.backbone(inputs)[0].mean(dim=(2, 3))[:, :2] * self.weight
        samples = [sample.clone() for sample in data_samples]
        for sample, scores in zip(samples, (10 * pooled).softmax(dim=1)):
            sample.pred_score = scores
        return samples

    def data_preprocessor(self, data, training):
        return dict(inputs=torch.stack(data['inputs']), data_samples=data['data_samples'])


@pytest.fixture
def loaded():
    image = torch.zeros(3, 32, 32)
    image[0, 4:12, 4:12] = 1  # red above on the left, green below on the right
    image[1, 20:28, 20:28] = 1
    return LoadedModel(
        'by hand',
        Classifier().eval(),
        lambda _: dict(inputs=image, data_samples=BaseDataElement()),
        'mmpretrain',
        ('red', 'green'),
    )


@pytest.mark.parametrize('method', [m for m in METHODS if m != 'eigencam'])  # which does not know classes
@pytest.mark.parametrize('label, place', [(0, (8, 8)), (1, (24, 24))])
def test_cam_of_known_model_peaks_at_the_evidence(grad_cam, loaded, method, label, place):
    found = compute_cam(loaded, loaded.prepare('image'), label, method)
    assert found.cam.shape == (32, 32) and found.cam.min() == 0 and found.cam.max() == pytest.approx(1, abs=1e-3)
    peak = np.unravel_index(found.cam.argmax(), found.cam.shape)
    assert np.abs(np.subtract(peak, place)).max() <= 4
    assert found.region is None and found.score == pytest.approx(0.5)


def test_cam_class_name_selects_or_is_refused(grad_cam, loaded):
    (record,) = measure_cam([loaded], ['image'], class_name='green')
    assert record['class_name'] == 'green' and record['activations'][0].cam[24, 24] > record['activations'][0].cam[8, 8]
    with pytest.raises(UsageError, match="no class 'blue'. by hand has: red, green"):
        measure_cam([loaded], ['image'], class_name='blue')
    other = LoadedModel('other', loaded.model, loaded.pipeline, 'mmpretrain', ('red',))
    with pytest.raises(UsageError, match='other has other classes'):
        measure_cam([loaded, other], ['image'])
    with pytest.raises(UsageError, match='no stage 3'):
        measure_cam([loaded], ['image'], stages=[3])


def test_evidence_in_label_map_is_the_mean_logit_of_its_region():
    logits = torch.tensor([[[2.0, 1, 0, 0]], [[0, 0, 3, 5]], [[0, 0, 0, 0]]], requires_grad=True)
    result = BaseDataElement(
        seg_logits=BaseDataElement(data=logits), pred_sem_seg=BaseDataElement(data=logits.argmax(0, keepdim=True))
    )
    number, share, region = class_evidence(result, 1, 0.3)
    assert number.item() == 4 and number.requires_grad and share == 0.5
    assert region.tolist() == [[False, False, True, True]]
    assert class_evidence(result, 2, 0.3)[0] is None
    loaded = LoadedModel('by hand', nn.Identity(), None, 'mmseg', ('background', 'disc', 'star'))
    assert most_likely_class(loaded, result) == 1
    result.pred_sem_seg.data = torch.zeros(1, 1, 4, dtype=torch.long)
    assert most_likely_class(loaded, result) is None


def test_activation_inside_is_the_share_of_the_region():
    values, region = np.zeros((4, 4)), np.zeros((4, 4), bool)
    values[0, 0], values[3, 3], region[0] = 3, 1, True
    assert ActivationMap(values, 1.0, region).share_inside == pytest.approx(0.75)
    assert np.isnan(ActivationMap(None, 0.0, region).share_inside)


def test_cam_of_detector_fills_the_image_and_leaves_no_hooks(grad_cam, configs, checkpoint, shapes):
    loaded = init_model(str(configs['ResT']), str(checkpoint))
    (record,) = measure_cam([loaded], find_images(shapes / 'images/val', 1), score_thr=0.0)
    (found,) = record['activations']
    assert found.cam.shape == tuple(loaded.prepare(record['path'])['inputs'].shape[-2:]) == found.region.shape
    assert 0 <= found.cam.min() <= found.cam.max() <= 1 and found.cam.std() > 0 and found.region.any()
    assert not loaded.backbone._forward_hooks, 'nothing is left on the model'
    (nothing,) = measure_cam([loaded], [record['path']], class_name='disc', score_thr=1.0)
    assert nothing['activations'][0].cam is None


def test_cam_without_its_package_names_the_install_command(monkeypatch):
    monkeypatch.setitem(__import__('sys').modules, 'pytorch_grad_cam', None)
    with pytest.raises(UsageError, match='pip install grad-cam'):
        cam.import_grad_cam()
