"""Evaluations without any result."""

import logging
from types import SimpleNamespace

import pytest

from mmrest.engine.hooks import EmptyResultsHook


@pytest.mark.parametrize('phase, said', [('val', 'no object yet'), ('test', 'has found no object.')])
@pytest.mark.parametrize('metrics, expected', [({}, 1), ({'coco/bbox_mAP': 0.0}, 0)])
def test_evaluation_without_metrics_is_explained(caplog, phase, said, metrics, expected):
    logger = logging.getLogger('empty_results')
    getattr(EmptyResultsHook(), f'after_{phase}_epoch')(SimpleNamespace(logger=logger), metrics)
    assert [said in record.getMessage() for record in caplog.records] == [True] * expected
