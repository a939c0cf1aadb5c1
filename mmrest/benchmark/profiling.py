"""Shares of kinds of operators in the time of a step, by torch's profiler."""

from __future__ import annotations

from collections import Counter
from typing import Callable

from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

# Prefixes of the names of operators on CPUs and GPUs, without their namespace.
KINDS = {
    'matrix products': ('bmm', 'baddbmm', 'mm', 'addmm', 'matmul', 'dot', '_scaled_dot_product'),
    'convolutions': (
        'mkldnn_convolution',
        'convolution',
        'slow_conv',
        'thnn_conv',
        '_slow_conv',
        'cudnn_convolution',
        '_conv_depthwise',
    ),
    'softmax': ('_softmax', 'softmax', '_log_softmax'),
    'norms': ('native_layer_norm', 'native_batch_norm', 'batch_norm', 'native_group_norm', 'linalg_vector_norm'),
    'activations': ('gelu', 'relu', 'sigmoid', 'silu', 'threshold'),
    'copies': ('copy_', 'cat', 'clone', 'fill_', 'zero_', 'index', 'roll', 'pixel_shuffle'),
}
ATTENTION, LINEAR, MIXING = 'matrix products of attention', 'linear layers', 'mixing of heads'
PRODUCTS = ('matrix products', 'convolutions')
ATTENTION_OPERATORS = 'mmrest::emsa'  # prefix; they compute products as convolutions too
HEADS = range(2, 17)


def operator_shares(step: Callable[[bool], None], train: bool) -> dict[str, float]:
    """Return the share of each kind of operator in the CPU time of a step, the largest first.

    Matrix products are classified by their shapes. A square operand of 2 to 16 rows is the weight that mixes heads,
    and a square result of that size, from longer batched operands, is the gradient of that weight. Other batched
    products belong to attention, and the rest to linear layers. 1x1 convolutions are classified in the same way, but
    those inside the operators of this package's attention belong to attention. Attention with at most 16 queries and
    as many keys (the last stage of images up to 128x128) cannot be distinguished from mixing and counts as mixing.

    Time counts for the innermost operator, but a product that another product or a convolution calls has the kind
    of its caller.

    Args:
        step (Callable): From :meth:`BenchmarkModel.build`.
        train (bool): Profile a training step instead of a forward pass.
    """
    step(train)  # warm-up
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        step(train)
    times = Counter()
    for event in profiler.events():
        times[_kind_of_event(event)] += event.self_cpu_time_total
    whole = sum(times.values())
    return {kind: time / whole for kind, time in times.most_common()}


def _kind_of_event(event: FunctionEvent) -> str:
    """Return the kind of an event: of nested products, that of the outermost one."""
    caller, in_attention = event, False
    if _family(event.name) in PRODUCTS:
        while event := event.cpu_parent:
            in_attention = in_attention or event.name.startswith(ATTENTION_OPERATORS)
            if _family(event.name) in PRODUCTS:
                caller = event
    kind = _kind(caller.name, caller.input_shapes or [])
    return ATTENTION if in_attention and kind == LINEAR else kind


def _family(key: str) -> str:
    name = key.split('::')[-1]
    return next((family for family, starts in KINDS.items() if name.startswith(starts)), 'others')


def _kind(key: str, shapes: list[list[int]]) -> str:
    """Return the kind of an operator from its name and the shapes of its inputs."""
    name, family = key.split('::')[-1], _family(key)
    if family == 'matrix products':
        # The operands are preceded by a summand, or followed by an output.
        a, b = (shapes[1:3] if name.startswith(('addmm', 'baddbmm')) else shapes[:2]) or ([], [])
        if min(len(a), len(b)) < 2 or name.startswith('_scaled'):
            return ATTENTION
        return _kind_of_product(a, b)
    # Backward operators take the gradient before input and weight.
    weight = shapes[2 if 'backward' in name else 1] if len(shapes) > 2 else []
    if family == 'convolutions' and len(weight) == 4 and weight[2:] == [1, 1] and weight[1] > 1:
        return MIXING if weight[0] == weight[1] in HEADS else LINEAR
    return family


def _kind_of_product(a: list[int], b: list[int]) -> str:
    """Return the kind of a product of (..., p, q) and (..., q, r)."""
    p, q, r = a[-2], a[-1], b[-1]
    batched = len(a) > 2 and len(b) > 2
    if p == q in HEADS or q == r in HEADS or batched and p == r in HEADS and q > p:
        return MIXING
    return ATTENTION if batched else LINEAR
