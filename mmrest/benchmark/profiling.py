"""Where the time of a step goes: shares of operators, gathered by what they are for."""
from __future__ import annotations

from collections import Counter
from typing import Callable

from torch.profiler import ProfilerActivity, profile

# Names of operators on CPUs and GPUs without their prefix; an operator counts where its name begins so.
KINDS = {
    'matrix products': ('bmm', 'baddbmm', 'mm', 'addmm', 'dot', '_scaled_dot_product'),
    'convolutions': ('mkldnn_convolution', 'convolution', 'slow_conv', 'thnn_conv', '_slow_conv', 'cudnn_convolution',
                     '_conv_depthwise'),
    'softmax': ('_softmax', 'softmax', '_log_softmax'),
    'norms': ('native_layer_norm', 'native_batch_norm', 'batch_norm', 'native_group_norm', 'linalg_vector_norm'),
    'activations': ('gelu', 'relu', 'sigmoid', 'silu', 'threshold'),
    'copies': ('copy_', 'cat', 'clone', 'fill_', 'zero_', 'index', 'roll', 'pixel_shuffle'),
}
ATTENTION, LINEAR, MIXING = 'matrix products of attention', 'linear layers', 'mixing of heads'
MOST_HEADS = 16


def operator_shares(step: Callable[[bool], None], train: bool) -> dict[str, float]:
    """Share of each kind of operator in the time of a step, the largest first.

    Batched matrix products are counted as attention's, 1x1 convolutions without groups as linear layers (which they
    are in backbones of this package), products with a square matrix of at most 16 rows as mixing of heads. Time
    inside an operator counts for the innermost one, on the CPU.

    Args:
        step (Callable): As :meth:`Contestant.build` returns it.
        train (bool): A training step rather than a forward pass.
    """
    step(train)  # what libraries set up on first use is not the step's
    with profile(activities=[ProfilerActivity.CPU], record_shapes=True) as profiler:
        step(train)
    times = Counter()
    for event in profiler.key_averages(group_by_input_shape=True):
        times[_kind(event.key, event.input_shapes or [])] += event.self_cpu_time_total
    whole = sum(times.values())
    return {kind: time / whole for kind, time in times.most_common()}


def _kind(key: str, shapes: list[list[int]]) -> str:
    """What an operator is for, by its name and the shapes of its inputs."""
    name = key.split('::')[-1]
    kind = next((kind for kind, starts in KINDS.items() if name.startswith(starts)), 'others')
    if kind == 'matrix products':
        if name.startswith(('mm', 'addmm')):
            small = any(len(s) == 2 and s[0] == s[1] <= MOST_HEADS for s in shapes)
            return MIXING if small else LINEAR
        return ATTENTION
    # The backward operators have the gradient before input and weight.
    weight = shapes[2 if 'backward' in name else 1] if len(shapes) > 2 else []
    if kind == 'convolutions' and len(weight) == 4 and weight[2:] == [1, 1] and weight[1] > 1:
        return LINEAR
    return kind
