"""The hook that runs mmcv's operators in float32."""

from types import SimpleNamespace

import torch
from mmengine.registry import HOOKS
from torch import nn

from mmrest import KeepMMCVInFloat32Hook


def test_float32_hook_widens_inputs_of_mmcv_operators():
    """Importing mmrest registers the hook; tests/integration/test_training_features.py trains with what it calls."""

    class BaseRoIExtractor(nn.Module):  # recognized by this name
        def forward(self, feats):
            return [feat.dtype for feat in feats]

    model = nn.Sequential(BaseRoIExtractor())
    HOOKS.build(dict(type='KeepMMCVInFloat32Hook')).before_train(SimpleNamespace(model=model))
    assert isinstance(HOOKS.build(dict(type='KeepMMCVInFloat32Hook')), KeepMMCVInFloat32Hook)
    maps = [torch.zeros(1, dtype=dtype) for dtype in (torch.bfloat16, torch.float16, torch.float32, torch.float64)]
    assert model(maps) == [torch.float32] * 3 + [torch.float64]
