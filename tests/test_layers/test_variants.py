"""Layers that only the ablations use: reductions, position encodings, the source of the upsampling branch."""

import pytest
import torch

from mmrest import ResTAblation, ResTv2Ablation
from mmrest.layers.variants import EMSAVariant, LearnableEmbedding, build_position


@pytest.mark.parametrize('sr_ratio', [2, 4, 8])
@pytest.mark.parametrize('reduction', ['avgpool', 'maxpool'])
def test_pooled_reduction_covers_the_windows_of_the_convolution(sr_ratio, reduction):
    attn = EMSAVariant(4, num_heads=2, sr_ratio=sr_ratio, reduction=reduction)
    x = torch.zeros(1, 4, 2 * sr_ratio, 2 * sr_ratio)
    x[..., sr_ratio, sr_ratio] = 1  # the centre of the last window
    pooled = attn.sr(x)[0, 0]
    share = 1.0 if reduction == 'maxpool' else 1 / (sr_ratio + 1) ** 2
    torch.testing.assert_close(pooled, torch.tensor([[0, 0], [0, share]]))
    ones = attn.sr(torch.ones_like(x))  # what lies beyond the border does not count
    assert torch.equal(ones, torch.ones_like(ones))


def test_group_linear_position_equals_the_formula():
    x = torch.randn(1, 6, 5, 4)
    pointwise, depthwise = build_position('gl', 6), build_position('gl_dw', 6)
    expected = (
        x
        + torch.einsum('oi,bihw->bohw', pointwise.gl_conv.weight[..., 0, 0], x)
        + pointwise.gl_conv.bias[:, None, None]
    )
    torch.testing.assert_close(pointwise(x), expected)
    assert depthwise.gl_conv.weight.shape == (6, 1, 3, 3) and pointwise.gl_conv.weight.shape == (6, 6, 1, 1)
    torch.testing.assert_close(depthwise(x), x + depthwise.gl_conv(x))


def test_learnable_embedding_at_another_size_is_interpolated(tiny):
    model = ResTAblation(tiny, position='le', pretrain_img_size=72)
    assert [
        m.pos.pos_embed.shape[-1] for m in (model.stem, model.patch_embed_2, model.patch_embed_3, model.patch_embed_4)
    ] == [18, 9, 5, 3]
    layer = LearnableEmbedding(2, 3)
    x = torch.zeros(1, 2, 3, 3)
    assert torch.equal(layer(x), layer.pos_embed)
    with torch.no_grad():
        layer.pos_embed.copy_(torch.tensor([0.0, 1, 2]).expand(1, 2, 3, 3))
    larger = layer(torch.zeros(1, 2, 6, 12))
    assert larger.shape == (1, 2, 6, 12)
    assert larger.diff(dim=-1).min() >= -1e-6
    torch.testing.assert_close(larger, larger[..., :1, :].expand_as(larger), rtol=0, atol=1e-6)


TWO_STAGES = dict(embed_dims=(8, 16), depths=(2, 2), num_heads=(1, 2), sr_ratios=(4, 2))


def test_upsampled_branch_starts_from_its_target():
    """Without the attention and with an identity projection, the output is the branch of the target."""
    model = ResTv2Ablation(TWO_STAGES, out_indices=(0, 1), upsample_strategy='nearest').double().eval()
    attn = model.stage2[0].attn
    for parameter in attn.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    attn.proj = torch.nn.Identity()
    attn.attend.register_forward_hook(lambda module, args, out: torch.zeros_like(out))
    x = torch.randn(1, 35, 16, dtype=torch.float64)
    for target in ('x', 'q', 'k', 'v'):
        attn.upsample_target = target
        attn.up = torch.nn.Upsample(scale_factor=1 if target == 'q' else 2)
        reduced, (h, w) = attn.reduce(x, (5, 7))
        k, v = attn.kv(reduced).chunk(2, dim=-1)
        start = dict(x=reduced, q=attn.q(x), k=k, v=v)[target].transpose(1, 2)
        start = start.unflatten(2, (5, 7) if target == 'q' else (h, w))
        if target != 'q':
            start = start.repeat_interleave(2, dim=2).repeat_interleave(2, dim=3)[..., :5, :7]
        branch = attn.up_norm(start.flatten(2).transpose(1, 2))
        torch.testing.assert_close(attn(x, (5, 7)), branch)
