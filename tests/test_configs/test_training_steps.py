"""A training step and a prediction with the model of every config."""

import copy
import re

import pytest
import torch
from mmengine.config import Config
from mmengine.optim import build_optim_wrapper

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')

from helpers.recipes import NAMES, PATTERN, build, read  # noqa: E402


def batch_for(cfg: Config) -> dict:
    """Two small images with annotations, one of them without an object where that can be."""
    if cfg.default_scope == 'mmdet':
        from mmdet.testing import demo_mm_inputs

        num_classes = (cfg.model.bbox_head if 'bbox_head' in cfg.model else cfg.model.roi_head.bbox_head).num_classes
        return demo_mm_inputs(
            2,
            image_shapes=[(3, 96, 128), (3, 70, 101)],
            num_items=[2, 0],
            num_classes=num_classes,
            with_mask='roi_head' in cfg.model,
        )
    inputs = [torch.randint(0, 256, (3, 64, 96), dtype=torch.uint8) for _ in range(2)]
    if cfg.default_scope == 'mmseg':
        from mmengine.structures import PixelData
        from mmseg.structures import SegDataSample

        samples = []
        for _ in inputs:
            labels = torch.randint(0, cfg.model.decode_head.num_classes, (1, 64, 96))
            if not cfg.model.decode_head.loss_decode.get('class_weight'):  # with which mmseg knows no label to ignore
                labels[:, :4] = 255
            samples.append(
                SegDataSample(gt_sem_seg=PixelData(data=labels), metainfo=dict(img_shape=(64, 96), ori_shape=(50, 75)))
            )
    else:
        from mmpretrain.structures import DataSample

        samples = [DataSample().set_gt_label(i) for i in range(2)]
    return dict(inputs=inputs, data_samples=samples)


def check_prediction(cfg: Config, results: list) -> None:
    assert len(results) == 2
    if cfg.default_scope == 'mmdet':
        for result, shape in zip(results, [(96, 128), (70, 101)]):
            found = result.pred_instances
            assert result.img_shape == shape and found.bboxes.shape == (len(found), 4) and found.bboxes.isfinite().all()
            if 'roi_head' in cfg.model:
                assert found.masks.shape == (len(found), *shape)
    elif cfg.default_scope == 'mmseg':
        for result in results:
            assert result.pred_sem_seg.data.shape == (1, 50, 75)  # the original size
            assert 0 <= result.pred_sem_seg.data.min() <= result.pred_sem_seg.data.max() < 150
    else:
        for result in results:
            assert result.pred_score.shape == (cfg.model.head.num_classes,) and 0.99 < result.pred_score.sum() < 1.01


def smallest_of_each_kind() -> set[str]:
    """Configs with the smallest architecture of each head, backbone and norm.

    Schedules make no difference to a step, and tests/integration/test_backbones_in_detectors.py takes one with every
    style.
    """
    found = {}
    for arch in ('lite', 'tiny', 'small', 'base', 'large'):
        for name in NAMES:
            head, backbone, of_config, rest = PATTERN.fullmatch(name).groups()
            if of_config == arch:
                kind = re.sub('^(win|cwin|hwin)_', '', rest).replace('_3x_', '_1x_')
                found.setdefault((head, backbone, kind), name)
    return set(found.values())


SMALLEST = smallest_of_each_kind()


@pytest.mark.parametrize(
    'name', [name if name in SMALLEST else pytest.param(name, marks=pytest.mark.slow) for name in NAMES]
)
def test_config_takes_a_step_and_predicts(name):
    cfg = read(name)
    model = build(cfg)
    model.init_weights()
    wrapper = build_optim_wrapper(model, copy.deepcopy(cfg.optim_wrapper))
    if cfg.default_scope == 'mmseg':
        model.data_preprocessor.size = (64, 96)  # instead of padding to the crop
    data = batch_for(cfg)
    losses = model.train()(**model.data_preprocessor(copy.deepcopy(data), True), mode='loss')
    total, _ = model.parse_losses(losses)
    assert total.isfinite()
    wrapper.backward(total)
    assert not [key for key, p in model.named_parameters() if p.requires_grad and p.grad is None]
    watched = model.backbone.stage4[0].mlp.fc1.weight
    before = watched.detach().clone()
    wrapper.step()
    assert watched.isfinite().all() and not torch.equal(before, watched)
    with torch.no_grad():
        check_prediction(cfg, model.eval()(**model.data_preprocessor(data, False), mode='predict'))
