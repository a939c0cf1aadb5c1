"""Where the time of a step goes: shares of operators, gathered by what they are for."""

from __future__ import annotations

from collections import Counter
from typing import Callable

from torch.autograd.profiler_util import FunctionEvent
from torch.profiler import ProfilerActivity, profile

# Names of operators on CPUs and GPUs without their prefix; an operator counts where its name begins so.
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
HEADS = range(2, 17)


def operator_shares(step: Callable[[bool], None], train: bool) -> dict[str, float]:
    """Share of each kind of operator in the time of a step, the largest first.

    Products of matrices are told apart by their shapes. A square operand of 2 to 16 rows is the weight with which
    heads mix, and a square result of that size, of longer operands that are batched, its gradient; other batched
    products are attention's, and what is left are linear layers. 1x1 convolutions without groups count likewise:
    they are one or the other in backbones of this package. Attention whose maps have as many queries as keys, 16 at
    most (the last stage of images up to 128x128), looks like mixing and is counted so.

    Time inside an operator counts for the innermost one, on the CPU; but a product that another product or a
    convolution calls is of the caller's kind.

    Args:
        step (Callable): As :meth:`BenchmarkModel.build` returns it.
        train (bool): A training step rather than a forward pass.
    """
    step(train)  # what libraries set up on first use is not the step's
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        step(train)
    times = Counter()
    for event in profiler.events():
        times[_kind_of_event(event)] += event.self_cpu_time_total
    whole = sum(times.values())
    return {kind: time / whole for kind, time in times.most_common()}


def _kind_of_event(event: FunctionEvent) -> str:
    """What an event is for: products are what the outermost of those around them is for."""
    caller = event
    if _family(event.name) in PRODUCTS:
        while event := event.cpu_parent:
            if _family(event.name) in PRODUCTS:
                caller = event
    return _kind(caller.name, caller.input_shapes or [])


def _family(key: str) -> str:
    name = key.split('::')[-1]
    return next((family for family, starts in KINDS.items() if name.startswith(starts)), 'others')


def _kind(key: str, shapes: list[list[int]]) -> str:
    """What an operator is for, by its name and the shapes of its inputs."""
    name, family = key.split('::')[-1], _family(key)
    if family == 'matrix products':
        # With a summand before the operands, or what is written to after them.
        a, b = (shapes[1:3] if name.startswith(('addmm', 'baddbmm')) else shapes[:2]) or ([], [])
        if min(len(a), len(b)) < 2 or name.startswith('_scaled'):
            return ATTENTION
        return _kind_of_product(a, b)
    # The backward operators have the gradient before input and weight.
    weight = shapes[2 if 'backward' in name else 1] if len(shapes) > 2 else []
    if family == 'convolutions' and len(weight) == 4 and weight[2:] == [1, 1] and weight[1] > 1:
        return MIXING if weight[0] == weight[1] in HEADS else LINEAR
    return family


def _kind_of_product(a: list[int], b: list[int]) -> str:
    """What a product of (..., p, q) and (..., q, r) is for."""
    p, q, r = a[-2], a[-1], b[-1]
    batched = len(a) > 2 and len(b) > 2
    if p == q in HEADS or q == r in HEADS or batched and p == r in HEADS and q > p:
        return MIXING
    return ATTENTION if batched else LINEAR
