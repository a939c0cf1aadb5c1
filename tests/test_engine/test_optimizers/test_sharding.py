"""Wrapping policy for FSDP; tests/integration/test_distributed.py trains with it."""

import pytest
from mmengine.registry import FUNCTIONS
from torch import nn

from mmrest import ResT, ResTv2
from mmrest.layers import TransformerBlock


@pytest.mark.parametrize('backbone', [ResT, ResTv2])
def test_wrap_transformer_blocks_takes_blocks_alone(tiny, backbone):
    wrap = FUNCTIONS.get('wrap_transformer_blocks')
    model = nn.ModuleDict(dict(backbone=backbone(tiny), head=nn.Linear(2, 2)))
    units = [module for module in model.modules() if wrap(module, recurse=False, nonwrapped_numel=0)]
    assert {type(unit) for unit in units} == {TransformerBlock} and len(units) == sum(tiny['depths'])
    assert wrap(model, recurse=True, nonwrapped_numel=0)
