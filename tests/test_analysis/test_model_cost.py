"""The cost of the whole model of a config."""

import pytest
from mmengine.config import Config

from mmrest.analysis.complexity import add_up
from mmrest.analysis.model_cost import count_model
from mmrest.apis import init_model
from mmrest.engine import UsageError


def test_model_cost_of_a_detector_adds_up_to_its_parameters(configs):
    costs = count_model(Config.fromfile(configs['ResT']), 'small', (64, 96))
    model = init_model(str(configs['ResT']), 'none').model
    assert [cost.name for cost in costs][-2:] == ['neck', 'bbox_head']
    assert add_up(costs).params == sum(p.numel() for p in model.parameters())
    assert [cost.name for cost in costs if not cost.total] == []


def test_model_cost_with_wrong_channels_names_the_part(configs):
    cfg = Config.fromfile(configs['ResT'])
    cfg.model.neck.in_channels = [16, 24, 16]
    with pytest.raises(
        UsageError, match='neck of small does not fit its backbone, which emits 3 maps with 16, 24, 32 ch'
    ):
        count_model(cfg, 'small', (64, 96))
