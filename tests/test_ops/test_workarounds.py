"""Layers called around faults of torch; those in half precision are among tests/reliability/test_numbers.py."""

import pytest
import torch
from torch import nn

from mmrest.ops.workarounds import call_batch_norm


def test_batch_norm_of_a_single_value_uses_running_statistics():
    norm = nn.BatchNorm2d(3)
    norm.running_mean += 1
    x = torch.rand(1, 3, 1, 1, requires_grad=True)
    torch.testing.assert_close(call_batch_norm(norm, x), (x - 1) / (1 + norm.eps) ** 0.5)
    assert norm.num_batches_tracked == 0
    with pytest.raises(ValueError, match='more than 1 value'):
        nn.BatchNorm2d(3)(x)
    more = x.expand(2, 3, 4, 4)
    assert torch.equal(call_batch_norm(nn.BatchNorm2d(3), more), nn.BatchNorm2d(3)(more))
