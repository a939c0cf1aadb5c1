"""Similarity of the heads of an attention before mixing, after mixing, and after InstanceNorm (ResT, Figure 5)."""

from __future__ import annotations

from pathlib import Path
from typing import Sequence

import torch
from torch import Tensor, nn

from ..apis import LoadedModel
from ..engine import UsageError
from ..layers import HeadAttention
from ..utils.figures import COLORS, new_figure, save_figure
from ..utils.progress import track

STEPS = ('before mixing', 'after mixing', 'after IN')
# Number of elements of attention maps in memory at a time.
BLOCK_ELEMENTS = 2**22


def cosine_similarity(gram: Tensor) -> Tensor:
    """Return cosine similarities (..., k, k) from a Gram matrix (..., k, k); nan for vectors of zero length."""
    norms = gram.diagonal(dim1=-2, dim2=-1).sqrt()
    return gram / (norms[..., :, None] * norms[..., None, :])


def mean_off_diagonal(similarity: Tensor) -> float:
    """Return the mean of similarities (k, k) over pairs of different heads; nan for a single head."""
    k = similarity.shape[-1]
    pairs = ~torch.eye(k, dtype=torch.bool)
    return similarity[..., pairs].nanmean().item() if k > 1 else float('nan')


@torch.no_grad()
def head_similarity(q: Tensor, k: Tensor, mix: nn.Module | None = None, head_norm: bool = True) -> dict[str, Tensor]:
    """Compute the cosine similarity of the attention maps (n, n') of every two heads, taken as vectors.

    Identical maps have a similarity of 1, and maps without a key in common 0. InstanceNorm subtracts the mean of a
    map, 1 / n', and scales the map, which does not change the cosine; so the similarity after it is the correlation
    of the maps and can be negative.

    Args:
        q (Tensor): Queries, (B, k, n, d).
        k (Tensor): Keys, (B, k, n', d).
        mix (nn.Module, optional): The 1x1 convolution across heads.
        head_norm (bool): Apply InstanceNorm after the mixing.

    Returns:
        dict[str, Tensor]: From a step of :data:`STEPS` to similarities (B, k, k) in float64; without ``mix`` the first
        step only.
    """
    batch, heads, n, dims = q.shape
    m = k.shape[2]
    q, k = q.double() * dims**-0.5, k.double()
    steps = STEPS[: 1 if mix is None else 2 + head_norm]
    grams = {step: q.new_zeros(batch, heads, heads) for step in steps}
    rows = max(BLOCK_ELEMENTS // (batch * heads * m), 1)
    for block in q.split(rows, dim=2):
        logits = block @ k.transpose(-2, -1)
        _add_products(grams[STEPS[0]], logits.softmax(dim=-1))
        if mix is not None:
            mixed = torch.einsum('hg,bgnm->bhnm', mix.weight[..., 0, 0].double(), logits)  # softmax removes the bias
            maps = mixed.softmax(dim=-1)
            _add_products(grams[STEPS[1]], maps)
            if head_norm:
                _add_products(grams[STEPS[2]], maps - 1 / m)
    return {step: cosine_similarity(gram) for step, gram in grams.items()}


def _add_products(gram: Tensor, maps: Tensor) -> None:
    vectors = maps.flatten(2)
    gram += vectors @ vectors.transpose(1, 2)


def measure_diversity(loaded: LoadedModel, images: Sequence[Path]) -> list[dict]:
    """Measure the similarity of heads in every attention with several heads, averaged over images and windows.

    Args:
        loaded (LoadedModel): Model with a backbone of this package.
        images (Sequence[Path]): Image files.

    Returns:
        list[dict]: For each attention, in forward order, its ``name``, its ``num_heads``, ``pairs``, from a step to
        similarities (k, k), and ``mean``, from a step to their mean over pairs of heads.

    Raises:
        UsageError: The model has no such attention, or an image cannot be read.
    """
    attentions = {
        module: name.removesuffix('.attend')
        for name, module in loaded.backbone.named_modules()
        if isinstance(module, HeadAttention)
    }
    if not attentions:
        raise UsageError(
            f'The backbone of {loaded.name} has none of the attention of ResT or ResTv2, whose heads are compared.'
        )
    found: dict[str, list[dict[str, Tensor]]] = {}

    def record(module: nn.Module, inputs: tuple) -> None:
        q, k = inputs[:2]
        if q.shape[1] > 1:
            similarity = head_similarity(q, k, inputs[3] if len(inputs) > 3 else None, module.head_norm)
            found.setdefault(attentions[module], []).append(
                {step: value.nanmean(dim=0).cpu() for step, value in similarity.items()}
            )

    handles = [module.register_forward_pre_hook(record) for module in attentions]
    try:
        with torch.no_grad():
            for path in track(images, f'Similarity of heads in {loaded.name}'):
                loaded.backbone(loaded.prepare(path)['inputs'])
    finally:
        for handle in handles:
            handle.remove()
    if not found:
        raise UsageError(f'Every attention of {loaded.name} has a single head: there is nothing to compare.')
    layers = []
    for name, records in found.items():
        pairs = {step: torch.stack([record[step] for record in records]).nanmean(dim=0) for step in records[0]}
        layers.append(
            dict(
                name=name,
                num_heads=len(pairs[STEPS[0]]),
                pairs=pairs,
                mean={step: mean_off_diagonal(value) for step, value in pairs.items()},
            )
        )
    return layers


def plot_diversity(measured: dict[str, list[dict]], out: str | Path, num_images: int) -> Path:
    """Plot for each model the mean similarity by depth, and that of every two heads in the last attention.

    Args:
        measured (dict): From the name of a model to the result of :func:`measure_diversity`.
        out (str | Path): Image file to write.
        num_images (int): Number of images, for the title.
    """
    figure, axes = new_figure(len(measured), 1 + len(STEPS), width=3.3, height=3.4)
    for row, (name, layers) in zip(axes, measured.items()):
        axis = row[0]
        for step, color, marker in zip(STEPS, COLORS, 'os^'):
            points = [(i, layer['mean'][step]) for i, layer in enumerate(layers) if step in layer['mean']]
            if points:
                axis.plot(*zip(*points), color=color, marker=marker, markersize=4, label=step)
        axis.set_xticks(
            range(len(layers)),
            [f'{layer["name"].removesuffix(".attn")} ({layer["num_heads"]})' for layer in layers],
            rotation=60,
            ha='right',
            fontsize=7,
        )
        axis.set(
            title=name,
            xlabel='attention (its heads)',
            ylabel='cosine similarity of heads\n1: all alike',
            ylim=(min(0, *(v for layer in layers for v in layer['mean'].values())) - 0.05, 1.3),
        )
        axis.title.set_fontsize(8)
        axis.grid(alpha=0.3)
        axis.legend(frameon=False, fontsize=6.5, loc='upper center', ncol=3, columnspacing=1)
        last = layers[-1]
        for axis, step in zip(row[1:], STEPS):
            if step not in last['pairs']:
                axis.axis('off')
                axis.text(0.5, 0.5, f'{last["name"]}:\nno step "{step}"', ha='center', va='center')
                continue
            shown = axis.imshow(last['pairs'][step], vmin=-1, vmax=1, cmap='RdBu_r')
            axis.set(title=f'{last["name"]}, {step}: {last["mean"][step]:.2f}', xlabel='head', ylabel='head')
            axis.title.set_fontsize(8)
        figure.colorbar(shown, ax=row[-1], label='cosine similarity')
    figure.suptitle(
        f'Similarity of the attention maps of different heads, images: {num_images}. '
        'Left: mean over pairs, by depth. Right: every pair in the last attention.',
        fontsize=9,
    )
    return save_figure(figure, out)
