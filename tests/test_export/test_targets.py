"""Export targets of a model: outputs and metadata."""

import json

import pytest
import torch
from helpers.small_exports import randomize_weights

from mmrest.engine import UsageError
from mmrest.export import config_target


def test_segmentor_target_equals_predict(upernet):
    target = randomize_weights(config_target(upernet))
    images = torch.randn(2, 3, 97, 131)
    with torch.no_grad():
        logits, labels = target.original(images)
        rewritten, _ = target.exportable()(images)
        samples = target.original.segmentor.predict(images)
    torch.testing.assert_close(logits, torch.stack([sample.seg_logits.data for sample in samples]))
    torch.testing.assert_close(rewritten, logits, rtol=1e-4, atol=1e-5)
    assert torch.equal(labels, torch.cat([sample.pred_sem_seg.data for sample in samples]))


def test_segmentor_target_has_only_the_chosen_outputs(upernet):
    target = config_target(upernet, outputs=['labels'])
    assert list(target.outputs) == ['labels']
    (labels,) = target.original(torch.randn(1, 3, 64, 64))
    assert labels.shape == (1, 64, 64) and labels.dtype == torch.int64
    with pytest.raises(UsageError, match='has the outputs logits and labels; got boxes'):
        config_target(upernet, outputs=['boxes'])


def test_exportable_leaves_the_model_unchanged(upernet):
    target = config_target(upernet)
    before = str(target.original)
    target.exportable()
    assert str(target.original) == before and 'AveragingPool2d' not in before


def test_backbone_target_metadata_are_json(configs):
    target = config_target(str(configs['ResTv2']), part='backbone')
    assert target.name == 'restv2 (initial weights)'
    assert target.task == 'backbone' and json.loads(target.metadata['mean']) == [127.5] * 3
    assert [meaning.split('stride ')[1] for meaning in target.outputs.values()] == ['8', '16', '32']
