"""Counted multiply-accumulates against figures derived by hand."""
import pytest
import torch

from mmrest import ResT, ResTv2
from mmrest.analysis import count_attention_macs


@pytest.mark.parametrize('style, giga', [('global', 46.1), ('win', 3.8), ('cwin', 3.8), ('hwin', 24.9)])
def test_styles_of_restv2_tiny(style, giga):
    assert count_attention_macs(ResTv2('tiny', style=style), (800, 1280)) / 1e9 == pytest.approx(giga, abs=0.05)


def test_derivation():
    # 2 n n' C, summed over the blocks of four stages.
    tokens = [200 * 320, 100 * 160, 50 * 80, 25 * 40]
    keys = [25 * 40] * 4
    expected = sum(2 * n * m * c * depth for n, m, c, depth in zip(tokens, keys, (96, 192, 384, 768), (1, 2, 6, 2)))
    assert count_attention_macs(ResTv2('tiny'), (800, 1280)) == expected


def test_the_convolutions_of_cwin():
    with torch.device('meta'):
        model = ResTv2('tiny', style='cwin')
    tokens = [200 * 320, 100 * 160, 50 * 80, 25 * 40]
    macs = sum(getattr(model, f'stage{i + 1}')[-1].conv.weight.numel() * n for i, n in enumerate(tokens))
    assert macs / 1e9 == pytest.approx(0.56, abs=0.005)


def test_rest_is_counted_with_head_mixing():
    small = dict(embed_dims=(8, ), depths=(2, ), num_heads=(2, ), sr_ratios=(2, ))
    assert count_attention_macs(ResT(small, out_indices=0), (32, 48)) == 2 * 2 * (8 * 12) * (4 * 6) * 8
