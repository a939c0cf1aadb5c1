"""Counted multiply-accumulates against figures derived by hand."""
import pytest
import torch

from mmrest import ResT, ResTv2
from mmrest.analysis import count_attention_macs

# ResTv2-Tiny at 800 x 1280: per stage the map in tokens, channels, blocks, and side of a window.
STAGES = [((200, 320), 96, 1, 64), ((100, 160), 192, 2, 32), ((50, 80), 384, 6, 16), ((25, 40), 768, 2, 8)]


def spans(size, side, padded):
    """Lengths that a side of the map is cut into."""
    whole, rest = divmod(size, side)
    return [side] * whole + ([side if padded else rest] if rest else [])


def derive(style, padded=False):
    """2 n n' C over blocks and windows; the reduction leaves an eighth of a window's side in any stage."""
    macs = 0
    for (height, width), channels, depth, side in STAGES:
        cost = {'global': 2 * height * width * 25 * 40 * channels, 'win': 0}
        for h in spans(height, side, padded):
            for w in spans(width, side, padded):
                keys = -(-h * 8 // side) * -(-w * 8 // side)
                cost['win'] += 2 * h * w * keys * channels
        ends_globally = depth if style == 'global' else int(style == 'hwin')
        macs += ends_globally * cost['global'] + (depth - ends_globally) * cost['win']
    return macs


@pytest.mark.parametrize('style, giga, giga_padded', [
    ('global', 46.1, 46.1), ('win', 2.8, 3.8), ('cwin', 2.8, 3.8), ('hwin', 24.5, 24.9)])
def test_styles_of_restv2_tiny(style, giga, giga_padded):
    counted = count_attention_macs(ResTv2('tiny', style=style), (800, 1280))
    assert counted == derive(style)
    assert counted / 1e9 == pytest.approx(giga, abs=0.05)
    # What windows padded to their full size would cost.
    assert derive(style, padded=True) / 1e9 == pytest.approx(giga_padded, abs=0.05)


def test_the_convolutions_of_cwin():
    with torch.device('meta'):
        model = ResTv2('tiny', style='cwin')
    tokens = [200 * 320, 100 * 160, 50 * 80, 25 * 40]
    macs = sum(getattr(model, f'stage{i + 1}')[-1].conv.weight.numel() * n for i, n in enumerate(tokens))
    assert macs / 1e9 == pytest.approx(0.56, abs=0.005)


def test_rest_is_counted_with_head_mixing():
    small = dict(embed_dims=(8, ), depths=(2, ), num_heads=(2, ), sr_ratios=(2, ))
    assert count_attention_macs(ResT(small, out_indices=0), (32, 48)) == 2 * 2 * (8 * 12) * (4 * 6) * 8
