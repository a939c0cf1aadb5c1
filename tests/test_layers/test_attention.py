"""EMSA: reduction of keys, mixing of heads, dropout."""

import pytest
import torch
from torch import nn

from mmrest.layers import EMSA


@pytest.mark.parametrize('sr_ratio', [1, 2, 4, 8])
@pytest.mark.parametrize('hw_shape', [(1, 1), (3, 5), (16, 9)])
def test_emsa_reduces_keys_and_rounds_sizes_up(sr_ratio, hw_shape):
    attn = EMSA(16, num_heads=4, sr_ratio=sr_ratio)
    x = torch.randn(2, hw_shape[0] * hw_shape[1], 16)
    assert attn(x, hw_shape).shape == x.shape
    expected = tuple(-(-n // sr_ratio) for n in hw_shape)
    reduced, reduced_shape = attn.reduce(x, hw_shape)
    assert reduced_shape == expected and reduced.shape == (2, expected[0] * expected[1], 16)


def test_emsa_with_one_head_has_no_head_mixing():
    assert EMSA(16, num_heads=1).transform_conv is None
    assert EMSA(16, num_heads=2).transform_conv is not None


def test_emsa_dropout_acts_only_in_training():
    attn = EMSA(16, num_heads=2, attn_drop_rate=0.5)
    x = torch.randn(1, 9, 16)
    assert not torch.equal(attn(x, (3, 3)), attn(x, (3, 3)))
    attn.eval()
    assert torch.equal(attn(x, (3, 3)), attn(x, (3, 3)))


def test_emsa_with_indivisible_channels_raises():
    with pytest.raises(ValueError, match='multiple of num_heads'):
        EMSA(16, num_heads=3)


def test_emsa_without_reduction_or_mixing_equals_multi_head_attention():
    attn = EMSA(16, num_heads=4, head_mixing=False).double()
    x = torch.randn(2, 15, 16, dtype=torch.float64)
    weight, bias = torch.cat([attn.q.weight, attn.kv.weight]), torch.cat([attn.q.bias, attn.kv.bias])
    expected, _ = nn.functional.multi_head_attention_forward(
        *[x.transpose(0, 1)] * 3, 16, 4, weight, bias, None, None, False, 0.0, attn.proj.weight, attn.proj.bias
    )
    torch.testing.assert_close(attn(x, (3, 5)), expected.transpose(0, 1), rtol=0, atol=1e-12)
