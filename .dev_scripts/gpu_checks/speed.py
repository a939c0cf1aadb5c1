"""Part 2: time and memory of the attention of each stage and of whole backbones, as ratios in one run."""

from __future__ import annotations

import functools
import itertools
from typing import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from mmrest.benchmark.baselines import BASELINES
from mmrest.benchmark.models import AttentionOnly
from mmrest.ops import emsa

from .cases import Case, Skip, need_gpu
from .models import BACKBONES, MEASURED_IMPLS, PRECISIONS, autocast, build_own, build_peer, tf32
from .results import Settings
from .timing import Step, add_ratios, count, measure, seconds_of

# Height, width, batch.
SHAPES, DRY_SHAPES = ((800, 1344, 2), (224, 224, 64)), ((64, 64, 1),)
MODES = ('train', 'forward')
MEASURED_PRECISIONS = ('bf16', 'fp32', 'tf32')
FORMS = (*BASELINES, *MEASURED_IMPLS)
PEER_NAMES = ('resnet-50', 'swin-t', 'pvtv2-b2', 'convnext-t')
ATTENTION_SECONDS, BACKBONE_SECONDS = 0.2, 1.5  # of the turns of one group
COPY_BYTES, SIDE = 2**30, 8192  # of what the device's peaks are measured with
DRY_COPY_BYTES, DRY_SIDE = 2**16, 64


def cases(settings: Settings) -> list[Case]:
    """Return the cases, the most telling ones first."""
    found = [Case('peaks of the device', functools.partial(measure_peaks, settings))]
    shapes = DRY_SHAPES if settings.dry else SHAPES
    modes = list(itertools.product(MEASURED_PRECISIONS[: 1 if settings.dry else None], MODES))
    for shape in shapes:
        for precision, mode in modes:
            run = functools.partial(measure_backbones, settings, shape, precision, mode)
            found.append(Case(f'backbones {label(shape)} {precision} {mode}', run, seconds=4, limit=60))
        for (precision, mode), name in itertools.product(modes, BACKBONES):
            run = functools.partial(measure_attention, settings, name, shape, precision, mode)
            found.append(Case(f'attention {name} {label(shape)} {precision} {mode}', run, seconds=2, limit=30))
    if not settings.quick:
        for name, form in itertools.product(BACKBONES[: 1 if settings.dry else None], ('auto', 'triton')):
            run = functools.partial(measure_compiled, settings, name, form, shapes[0])
            case = f'compiled {name} {form} {label(shapes[0])} bf16 train'
            found.append(Case(case, run, seconds=1 if settings.dry else 15, limit=90))
    return found


def label(shape: tuple[int, int, int]) -> str:
    """Return how a shape is written."""
    return '{}x{} B{}'.format(*shape)


def measure_peaks(settings: Settings) -> dict:
    """Measure what the device reaches: copies of memory in GB/s, matrix products in TFLOP/s."""
    size, side = (DRY_COPY_BYTES, DRY_SIDE) if settings.dry else (COPY_BYTES, SIDE)
    source = torch.ones(size // 4, device=settings.device)
    target = torch.empty_like(source)

    def best(step: Step) -> float:
        step()
        return min(seconds_of(step, settings.device, 3) for _ in range(5))

    found = {'GB/s': 2 * size / best(lambda: target.copy_(source)) / 1e9}
    for name in MEASURED_PRECISIONS:
        dtype, uses_tf32 = PRECISIONS[name]
        a, b = (torch.randn(side, side, device=settings.device, dtype=dtype) for _ in range(2))
        with tf32(uses_tf32):
            found[f'TFLOP/s {name}'] = 2 * side**3 / best(lambda a=a, b=b: a @ b) / 1e12
    return dict(peaks=found, summary=', '.join(f'{key} {value:.0f}' for key, value in found.items()))


def measure_backbones(settings: Settings, shape: tuple[int, int, int], precision: str, mode: str) -> dict:
    """Measure both backbones in all forms, in turn with those of others."""
    names = [f'{name}:{form}' for name, form in itertools.product(BACKBONES, FORMS)]
    if not settings.quick:
        names += PEER_NAMES[:1] if settings.dry else PEER_NAMES
    builders = {
        name: functools.partial(
            backbone_step,
            settings,
            functools.partial(_backbone, settings.device, settings.dry, name),
            shape,
            precision,
            mode,
        )
        for name in names
    }
    with tf32(PRECISIONS[precision][1]):
        results = measure(builders, BACKBONE_SECONDS, settings.device)
        for name in BACKBONES:
            own = [f'{name}:{form}' for form in FORMS]
            add_ratios(results, own[0], own)
            # Counting takes as long as many steps: the fastest form's bytes, and operations of the one without custom
            # operators, whose own are not counted. All forms compute the same.
            timed = [key for key in own if 'ms' in results[key]]
            if f'{name}:matmul' in timed:
                best = min(timed, key=lambda key: results[key]['ms'])
                flops = count(builders[f'{name}:matmul']())['flops']
                results[best].update(flops=flops, bytes=count(builders[best]())['bytes'])
    return dict(figures=results, precision=precision, summary=summarize(results), problems=failures(results))


def failures(results: dict[str, dict]) -> list[str]:
    """Return what failed, other than for lack of memory or of a library."""
    expected = ('out of memory', Skip.__name__)
    return [
        f'{name}: {row["failed"]}'
        for name, row in results.items()
        if 'failed' in row and not row['failed'].startswith(expected)
    ]


def summarize(results: dict[str, dict], times: bool = True) -> str:
    """Return times, speedups and memory of a group in one line; without ``times``, those of the first alone."""
    parts = []
    for i, (name, row) in enumerate(results.items()):
        words = [name]
        if 'ms' not in row:
            words.append(row['failed'].split(':')[0])
        elif times or i == 0 or 'speedup' not in row:
            words += [f'{row["ms"]:.3g} ms', f'{row["mb"]:.0f} MB' if row['mb'] else '']
        if row.get('speedup', 1) != 1:
            memory = f'/{row["memory"]:.2f}' if 'memory' in row and not times else ''
            words.append(f'{row["speedup"]:.2f}x{memory}')
        parts.append(' '.join(filter(None, words)))
    return ', '.join(parts)


@functools.cache
def _backbone(device: str, dry: bool, name: str) -> nn.Module:
    own, _, form = name.partition(':')
    return (build_own(own, dry, form) if form else build_peer(name)).to(device)


def backbone_step(
    settings: Settings, build: Callable[[], nn.Module], shape: tuple[int, int, int], precision: str, mode: str
) -> Step:
    """Return a step of the backbone that is built: forward, with gradients of all parameters in training."""
    model, train, dtype = build(), mode == 'train', PRECISIONS[precision][0]
    height, width, batch = shape
    images = torch.rand(batch, 3, height, width, device=settings.device)

    def step() -> None:
        model.train(train)
        with torch.set_grad_enabled(train):
            with autocast(settings.device, dtype):
                maps = model(images)
            if train:
                # A gradient for every map from a loss that costs next to nothing.
                sum(x.sum(dtype=torch.float32) for x in ([maps] if isinstance(maps, Tensor) else maps)).backward()
                model.zero_grad(set_to_none=True)

    return step


def measure_compiled(settings: Settings, name: str, form: str, shape: tuple[int, int, int]) -> dict:
    """Measure a training step through ``torch.compile`` beside the same one without."""

    def build(compiled: bool) -> nn.Module:
        # A dry run captures the graph of one stage, and does not translate it, which takes a compiler.
        options = dict(out_indices=(0,)) if settings.dry else {}
        model = build_own(name, settings.dry, form, **options).to(settings.device)
        return torch.compile(model, backend='eager' if settings.dry else 'inductor') if compiled else model

    steps = {
        key: functools.partial(
            backbone_step, settings, functools.partial(build, key == 'compiled'), shape, 'bf16', 'train'
        )
        for key in ('eager', 'compiled')
    }
    results = measure(steps, BACKBONE_SECONDS, settings.device)
    add_ratios(results, 'eager', list(steps))
    return dict(figures=results, precision='bf16', summary=summarize(results), problems=failures(results))


def measure_attention(settings: Settings, name: str, shape: tuple[int, int, int], precision: str, mode: str) -> dict:
    """Measure the attention of one block of each stage, in all forms."""
    if precision == 'tf32':
        need_gpu(settings, 'TF32')
    dtype, uses_tf32 = PRECISIONS[precision]
    alone = _attention(name, settings.dry, shape)
    figures, texts, problems = {}, [], []
    for i, (heads, _, mixing, _) in enumerate(alone.settings):
        tokens, pairs, weight, bias = (alone.stages[4 * i + j].detach().to(settings.device) for j in range(4))
        # As linear layers give them: keys and values are halves of one tensor, and heads are strides.
        halves = (tokens.to(dtype), *pairs.to(dtype).chunk(2, dim=-1))
        q, k, v = (x.unflatten(-1, (heads, -1)).transpose(1, 2) for x in halves)
        inputs = [q, k, v, *([weight, bias] if mixing else [])]
        builders = {
            form: functools.partial(attention_step, settings, form, inputs, dtype, mode) for form in (*FORMS, 'sdpa')
        }
        with tf32(uses_tf32):
            results = measure(builders, ATTENTION_SECONDS, settings.device)
        add_ratios(results, 'released', list(builders))
        for form, row in results.items():
            row.update(flops=flops(q, k, mixing and form != 'sdpa', mode), bytes=least_bytes(q, k, mode))
        figures[f'stage {i + 1}'] = results
        texts.append(f'stage {i + 1} {summarize(results, times=False)}')
        problems += failures(results)
    return dict(figures=figures, precision=precision, summary='; '.join(texts), problems=problems)


@functools.cache
def _attention(name: str, dry: bool, shape: tuple[int, int, int]) -> AttentionOnly:
    return AttentionOnly(build_own(name, dry), shape[:2], shape[2], None)


def attention_step(settings: Settings, form: str, inputs: list[Tensor], dtype: torch.dtype, mode: str) -> Step:
    """Return a step of the attention alone; 'sdpa' leaves the interaction of heads out."""
    function = BASELINES.get(form) or functools.partial(emsa, impl=form)
    if form == 'sdpa':
        function, inputs = F.scaled_dot_product_attention, inputs[:3]
    train = mode == 'train'
    leaves = [x.detach().requires_grad_(train) for x in inputs]
    grad = torch.randn(inputs[0].shape, device=settings.device, dtype=dtype)

    def step() -> None:
        with torch.set_grad_enabled(train):
            with autocast(settings.device, dtype):
                out = function(*leaves)
            if train:
                torch.autograd.grad(out, leaves, grad.to(out.dtype))

    return step


def flops(q: Tensor, k: Tensor, mixing: bool, mode: str) -> float:
    """Return the operations of the products of attention; a backward pass has two for each."""
    batch, heads, queries, channels = q.shape
    maps = batch * heads * queries * k.shape[2]
    return 2.0 * maps * (2 * channels + (heads if mixing else 0)) * (3 if mode == 'train' else 1)


def least_bytes(q: Tensor, k: Tensor, mode: str) -> float:
    """Return the bytes of inputs, outputs and gradients, each read or written once in a pass."""
    both = (q.numel() + k.numel()) * q.element_size()
    return float(both * (6 if mode == 'train' else 2))
