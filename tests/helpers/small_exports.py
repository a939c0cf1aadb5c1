"""Small models to export, and checks of what was exported."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

# A graph of symbolic sizes takes long to record, the longer the deeper: one or two stages are what most tests run.
ONE_STAGE = dict(arch=dict(embed_dims=(16,), depths=(1,), num_heads=(2,), sr_ratios=(4,)), out_indices=(0,))
TWO_STAGES = dict(arch=dict(embed_dims=(8, 16), depths=(1, 1), num_heads=(1, 2), sr_ratios=(4, 2)), out_indices=(0, 1))
FOUR_STAGES = dict(
    arch=dict(embed_dims=(8, 16, 24, 32), depths=(1, 2, 1, 1), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1)),
    out_indices=(0, 1, 2, 3),
)
# Sides that no stage divides evenly, a map of one pixel, and one much longer than wide.
SHAPES = ((97, 131), (33, 64), (64, 300))


def randomize_weights(target: Any) -> Any:
    """Move the weights and statistics of an export target away from their initial values, which hide some layers."""
    for tensor in target.original.state_dict().values():
        if tensor.is_floating_point():
            tensor.add_(0.1 * torch.rand_like(tensor))
    return target


def max_error(differences: dict) -> float:
    """Return the largest error of an exported file over all outputs."""
    return max(found.file for found in differences.values())


def operator_names(onnx: Any, path: Path) -> set[str]:
    """Return the names of a graph's operators, after checking that all are ONNX's own."""
    graph = onnx.load(str(path)).graph
    assert {node.domain for node in graph.node} <= {'', 'ai.onnx'}
    return {node.op_type for node in graph.node}


def check_dynamic_axes(onnx: Any, path: Path, target: Any) -> None:
    """Check that a graph takes any batch, height and width, and names the target's outputs."""
    graph = onnx.load(str(path)).graph
    dims = [dim.dim_param or dim.dim_value for dim in graph.input[0].type.tensor_type.shape.dim]
    assert dims == ['batch', 3, 'height', 'width']
    assert [out.name for out in graph.output] == list(target.outputs)
