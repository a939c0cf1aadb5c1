"""Tests of the forms of attention and feed-forward networks that exported graphs have."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from mmrest.benchmark.numerics import SHARPNESS, make_inputs, rms_errors
from mmrest.layers import EMSA, TransformerBlock
from mmrest.ops import emsa_reference
from mmrest.ops.blocked import MAX_ELEMENTS, count_blocks, emsa_blocked, in_blocks


def blocked(num_blocks: int, normalize: bool = True):
    """Return attention in a number of blocks as a function of the inputs alone."""
    return lambda *inputs: emsa_blocked(*inputs, normalize=normalize, num_blocks=num_blocks)


@pytest.mark.parametrize('num_blocks', [1, 2, 7, 16])
@pytest.mark.parametrize('queries', [5, 37, 64])
@pytest.mark.parametrize('mixing', [True, False], ids=['mixing', 'no-mixing'])
def test_blocked_attention_in_float64_equals_the_formula(mixing, queries, num_blocks):
    *inputs, _ = make_inputs(1.0, keys=13, batch=2, heads=3, queries=queries, channels=8, mixing=mixing)
    inputs = [x.double() for x in inputs]
    expected = emsa_reference(*inputs)
    out = blocked(num_blocks)(*inputs)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-9 * float(expected.std()))


def test_blocked_attention_without_norm_equals_the_formula():
    *inputs, _ = make_inputs(1.0, keys=13, heads=2, queries=37, channels=8, mixing=True)
    inputs = [x.double() for x in inputs]
    expected = emsa_reference(*inputs, normalize=False)
    out = blocked(4, normalize=False)(*inputs)
    torch.testing.assert_close(out, expected, rtol=0, atol=1e-9 * float(expected.std()))


@pytest.mark.parametrize('sharpness', SHARPNESS.values(), ids=SHARPNESS)
@pytest.mark.parametrize('dtype', [torch.float32, torch.bfloat16, torch.float16], ids=str)
def test_blocked_attention_in_lower_precision_is_at_most_twice_as_far_as_the_formula(dtype, sharpness):
    inputs = make_inputs(sharpness, keys=50, queries=90, dtype=dtype, mixing=True)
    own, plain = rms_errors(blocked(4), inputs), rms_errors(emsa_reference, inputs)
    assert own['out'] <= 2 * plain['out']
    assert blocked(4)(*inputs[:-1]).dtype == dtype


@pytest.mark.parametrize(
    ['length', 'width', 'expected'],
    [(100, 10, 1), (MAX_ELEMENTS, 1, 1), (MAX_ELEMENTS, 2, 2), (3, MAX_ELEMENTS * 4, 3), (0, 5, 1)],
)
def test_number_of_blocks_of_fixed_sizes_follows_from_their_elements(length, width, expected):
    assert count_blocks(length, width, num_dynamic=99) == expected


@pytest.mark.parametrize('length', [1, 3, 16, 17])
def test_blocks_are_short_and_their_results_are_in_order(length):
    seen = []

    def double(block):
        seen.append(block.shape[1])
        return 2 * block

    x = torch.arange(2 * length).view(2, length)
    torch.testing.assert_close(in_blocks(double, x, 1, 4), 2 * x)
    assert seen == [-(-length // 4)] * 4


class Largest(torch.fx.Interpreter):
    """Interpreter of a graph that notes the number of elements of the largest tensor."""

    elements = 0

    def run_node(self, n):
        """Compute a node."""
        result = super().run_node(n)
        tensors = result if isinstance(result, (tuple, list)) else [result]
        self.elements = max([self.elements, *(x.numel() for x in tensors if isinstance(x, torch.Tensor))])
        return result


class Block(nn.Module):
    """Transformer block on a map (B, C, H, W)."""

    def __init__(self, attn_impl: str) -> None:
        super().__init__()
        self.block = TransformerBlock(16, EMSA(16, num_heads=2, sr_ratio=2, attn_impl=attn_impl), mlp_ratio=64)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Return tokens (B, H * W, C)."""
        return self.block(x.permute(0, 2, 3, 1).flatten(1, 2), (x.shape[2], x.shape[3]))


@pytest.mark.skipif(not hasattr(torch.compiler, 'is_exporting'), reason='needs torch 2.7')
@pytest.mark.parametrize(
    ['impl', 'whole_maps'], [('auto', False), pytest.param('reference', True, marks=pytest.mark.slow)]
)
def test_exported_block_holds_whole_maps_with_the_plain_formula_only(impl, whole_maps):
    model, dim = Block(impl).eval(), torch.export.Dim.DYNAMIC
    shapes = ({0: dim, 2: dim, 3: dim},)
    with torch.no_grad():
        program = torch.export.export(model, (torch.rand(2, 16, 15, 21),), dynamic_shapes=shapes, strict=False)
        interpreter, x = Largest(program.module()), torch.rand(1, 16, 48, 64)
        torch.testing.assert_close(interpreter.run(x), model(x), rtol=1e-4, atol=1e-5)
    tokens, keys, hidden_dims = 48 * 64, 24 * 32, 16 * 64
    if whole_maps:
        assert interpreter.elements == 2 * tokens * keys
    else:
        # Of the hidden values; those of the maps are fewer.
        assert interpreter.elements == tokens * hidden_dims / 4
