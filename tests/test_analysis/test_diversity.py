"""Similarity of heads, on maps made by hand and on the formula map by map."""

import pytest
import torch
from torch import nn

from mmrest.analysis import diversity
from mmrest.analysis.diversity import STEPS, head_similarity, mean_off_diagonal, measure_diversity
from mmrest.apis import find_images, init_model
from mmrest.engine import UsageError
from mmrest.ops.attention import instance_norm


def queries_for(logits):
    """Return queries and keys whose attention logits are the given ones."""
    heads, n, m = logits.shape
    return (logits * m**0.5)[None].double(), torch.eye(m, dtype=torch.float64).expand(1, heads, m, m)


def test_head_similarity_is_one_for_identical_and_zero_for_disjoint_heads():
    hard = 1000 * torch.eye(4)  # attention to one key
    identical, orthogonal = torch.stack([hard, hard]), torch.stack([hard, hard.roll(1, 0)])
    assert head_similarity(*queries_for(identical))[STEPS[0]].mean() == pytest.approx(1.0)
    similarity = head_similarity(*queries_for(orthogonal))[STEPS[0]][0]
    assert mean_off_diagonal(similarity) == pytest.approx(0.0, abs=1e-12)
    assert similarity.diagonal().tolist() == pytest.approx([1.0, 1.0])


def test_mean_off_diagonal_is_over_pairs_of_different_heads():
    similarity = torch.tensor([[1.0, 0.2, 0.4], [0.2, 1.0, 0.6], [0.4, 0.6, 1.0]])
    assert mean_off_diagonal(similarity) == pytest.approx(0.4)
    assert mean_off_diagonal(torch.ones(1, 1)) != mean_off_diagonal(torch.ones(1, 1))  # nan: no pair


@pytest.mark.parametrize('block_elements', [1, 100, 2**22])
def test_head_similarity_of_each_step_equals_the_formula(monkeypatch, block_elements):
    monkeypatch.setattr(diversity, 'BLOCK_ELEMENTS', block_elements)
    q, k = torch.randn(2, 4, 9, 8, dtype=torch.float64), torch.randn(2, 4, 5, 8, dtype=torch.float64)
    mix = nn.Conv2d(4, 4, 1).double()
    logits = q @ k.transpose(-2, -1) * 8**-0.5
    maps = [logits.softmax(-1), mix(logits).softmax(-1)]
    maps.append(instance_norm(maps[1]))
    found = head_similarity(q, k, mix)
    for step, expected in zip(STEPS, maps):
        expected = expected.flatten(2)
        cosine = nn.functional.cosine_similarity(expected[:, :, None], expected[:, None], dim=-1)
        torch.testing.assert_close(found[step], cosine, rtol=0, atol=1e-9)


def test_head_similarity_leaves_out_missing_steps():
    q, k, mix = torch.randn(1, 2, 6, 4), torch.randn(1, 2, 3, 4), nn.Conv2d(2, 2, 1)
    assert tuple(head_similarity(q, k)) == STEPS[:1]
    assert tuple(head_similarity(q, k, mix, head_norm=False)) == STEPS[:2]


def test_diversity_of_a_detector_lists_every_attention(configs, checkpoint, shapes):
    images = find_images(shapes / 'images/val', 2)
    layers = measure_diversity(init_model(str(configs['ResT']), str(checkpoint)), images)
    assert [(layer['name'], layer['num_heads']) for layer in layers] == [
        ('stage2.0.attn', 2),
        ('stage3.0.attn', 4),
        ('stage3.1.attn', 4),
        ('stage4.0.attn', 8),
    ]
    assert [set(layer['mean']) for layer in layers] == [set(STEPS)] * 4
    assert [value for layer in layers for value in layer['mean'].values() if not -1 <= value <= 1] == []
    v2 = measure_diversity(init_model(str(configs['ResTv2']), 'none'), images)
    assert [set(layer['mean']) for layer in v2] == [set(STEPS[:1])] * len(v2)


def test_diversity_of_a_backbone_without_attention_is_refused(configs, shapes, tmp_path):
    (tmp_path / 'resnet.py').write_text(
        f"_base_ = '{configs['ResT']}'\n"
        + """
model = dict(backbone=dict(_delete_=True, type='ResNet', depth=18, out_indices=(1, 2, 3)),
             neck=dict(in_channels=[128, 256, 512]))
"""
    )
    with pytest.raises(UsageError, match='none of the attention'):
        measure_diversity(init_model(str(tmp_path / 'resnet.py'), 'none'), find_images(shapes, 1))
