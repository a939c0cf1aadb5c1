"""Frequency spectra of feature maps by depth (ResTv2, arXiv 2204.07366, after Park and Kim, arXiv 2202.06709)."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Sequence

import torch
from torch import Tensor, nn

from ..apis import LoadedModel
from ..engine import UsageError
from ..layers import EMSA, TransformerBlock, to_map
from ..utils.figures import COLORS, new_figure, save_figure
from ..utils.progress import track

# Maps of a block, in the order of the panels. Backbones of other packages have the last kind only.
ATTENTION, BRANCH, COMBINED, OUTPUT = KINDS = ('attention', 'upsample branch', 'attention + branch', 'output')
# Number of frequencies from 0 to pi that the spectra of maps of different sizes are interpolated to.
NUM_FREQUENCIES = 33


def relative_log_amplitude(maps: Tensor) -> Tensor | None:
    """Return the log amplitude of the Fourier transform along the diagonal, relative to frequency 0.

    Args:
        maps (Tensor): (B, C, H, W).

    Returns:
        Tensor | None: (NUM_FREQUENCIES,) float64, the mean over images and channels at frequencies from 0 to pi in
        both directions; None for maps of a single row or column, which have no diagonal.
    """
    height, width = maps.shape[-2:]
    if min(height, width) < 2:
        return None
    log_amplitude = (torch.fft.fft2(maps.double()).abs() + 1e-6).log().mean(dim=(0, 1))
    steps = min(height, width) // 2
    fractions = torch.linspace(0, 1, steps + 1, dtype=torch.float64)
    rows, columns = ((fractions * (side // 2)).round().long() for side in (height, width))
    diagonal = log_amplitude[rows, columns].cpu()
    return _interpolate(diagonal - diagonal[0])


def _interpolate(values: Tensor) -> Tensor:
    position = torch.linspace(0, len(values) - 1, NUM_FREQUENCIES, dtype=values.dtype)
    low = position.floor().long().clamp(max=len(values) - 2)
    return torch.lerp(values[low], values[low + 1], position - low)


class _Recorder:
    """Hooks that record spectra in forward passes, by kind and by the name of the block or output."""

    def __init__(self, backbone: nn.Module) -> None:
        self.sums: dict[str, dict[str, list[Tensor]]] = {kind: {} for kind in KINDS}
        self.handles: list = []
        blocks = [(name, m) for name, m in backbone.named_modules() if isinstance(m, TransformerBlock)]
        for name, block in blocks:
            self._watch(name, block)
        if not blocks:
            self.handles.append(backbone.register_forward_hook(self._take_outputs))

    def _watch(self, name: str, block: TransformerBlock) -> None:
        shape: list[tuple[int, int]] = []
        current: dict[str, Tensor] = {}

        def begin(_, inputs: tuple) -> None:
            shape[:] = [tuple(inputs[1])]
            current.clear()

        def end(_, inputs: tuple, output: Tensor) -> None:
            if ATTENTION in current and BRANCH in current:
                current[COMBINED] = current[ATTENTION] + current[BRANCH]
            current[OUTPUT] = output
            for kind, tokens in current.items():
                self._add(kind, name, to_map(tokens, shape[0]))

        def attended(_, inputs: tuple, output: Tensor) -> None:  # (B, k, n, d)
            current[ATTENTION] = output.transpose(1, 2).flatten(2)

        def branched(_, inputs: tuple, output: Tensor) -> None:
            current[BRANCH] = output

        self.handles += [block.register_forward_pre_hook(begin), block.register_forward_hook(end)]
        attn = block.attn
        # Attention in windows has no map of the whole image.
        if isinstance(attn, EMSA) and getattr(attn, 'window_size', None) is None:
            self.handles.append(attn.attend.register_forward_hook(attended))
            if getattr(attn, 'up', None) is not None:
                self.handles.append(attn.up_norm.register_forward_hook(branched))

    def _take_outputs(self, _, inputs: tuple, outputs: Sequence[Tensor]) -> None:
        for i, out in enumerate(outputs if isinstance(outputs, (list, tuple)) else [outputs]):
            self._add(OUTPUT, f'output {i + 1}', out)

    def _add(self, kind: str, name: str, maps: Tensor) -> None:
        amplitude = relative_log_amplitude(maps)
        if amplitude is not None:
            self.sums[kind].setdefault(name, []).append(amplitude)

    def remove(self) -> None:
        for handle in self.handles:
            handle.remove()


def measure_fourier(loaded: LoadedModel, images: Sequence[Path]) -> dict[str, dict[str, Tensor]]:
    """Measure the relative log amplitudes of every block, or of every output of a backbone of another package.

    Args:
        loaded (LoadedModel): Model whose backbone is measured.
        images (Sequence[Path]): Image files.

    Returns:
        dict[str, dict[str, Tensor]]: From a kind of :data:`KINDS` to the names of the blocks, in forward order, to
        spectra (NUM_FREQUENCIES,) in float64, averaged over images.

    Raises:
        UsageError: The images are so small that no map has two rows and two columns.
    """
    recorder = _Recorder(loaded.backbone)
    try:
        with torch.no_grad():
            for path in track(images, f'Frequencies in {loaded.name}'):
                loaded.backbone(loaded.prepare(path)['inputs'])
    finally:
        recorder.remove()
    measured = {
        kind: {name: torch.stack(values).mean(dim=0) for name, values in of_kind.items()}
        for kind, of_kind in recorder.sums.items()
        if of_kind
    }
    if not measured:
        raise UsageError('The images are too small: no feature map has two rows and two columns.')
    return measured


def plot_fourier(measured: dict[str, dict[str, dict[str, Tensor]]], out: str | Path, num_images: int) -> Path:
    """Plot for each model the spectra of all blocks, and the amplitude at the highest frequency by depth.

    Args:
        measured (dict): From the name of a model to the result of :func:`measure_fourier`.
        out (str | Path): Image file to write.
        num_images (int): Number of images, for the title.
    """
    from matplotlib import colormaps

    kinds = [kind for kind in KINDS if any(kind in of_model for of_model in measured.values())]
    figure, axes = new_figure(len(measured), len(kinds) + 1, width=3.2, height=3.2)
    low = min(
        values.min().item()
        for of_model in measured.values()
        for of_kind in of_model.values()
        for values in of_kind.values()
    )
    limits = (math.floor(low) - 0.2, 0.8)
    frequencies = torch.linspace(0, 1, NUM_FREQUENCIES)
    for row, (name, of_model) in zip(axes, measured.items()):
        names = list(of_model[OUTPUT])
        depth_of = {block: i / max(len(names) - 1, 1) for i, block in enumerate(names)}
        for axis, kind in zip(row, kinds):
            for block, values in of_model.get(kind, {}).items():
                axis.plot(frequencies, values, color=colormaps['viridis_r'](depth_of[block]), linewidth=1.3)
            if kind not in of_model:
                axis.text(0.5, sum(limits) / 2, 'not in this model', ha='center')
            axis.set(title=f'{kind}', xlabel='frequency, in units of π', ylim=limits, xlim=(0, 1))
            axis.grid(alpha=0.3)
        row[0].set_ylabel(f'{name}\n\nlog amplitude relative to frequency 0', fontsize=8)
        for kind, color, marker in zip(kinds, COLORS, 'os^D'):
            points = [(depth_of[block], values[-1]) for block, values in of_model.get(kind, {}).items()]
            if points:
                row[-1].plot(*zip(*points), color=color, marker=marker, markersize=4, label=kind)
        row[-1].set(title='at frequency π, by depth', ylim=limits)
        row[-1].set_xticks(list(depth_of.values()), list(depth_of), rotation=60, ha='right', fontsize=6)
        row[-1].grid(alpha=0.3)
        row[-1].legend(frameon=False, fontsize=7)
    bar = figure.colorbar(_depth_colors(), ax=axes[:, len(kinds) - 1], ticks=[0, 1])
    bar.ax.set_yticklabels(['first block', 'last block'], fontsize=8)
    figure.suptitle(
        'Relative log amplitudes of Fourier-transformed feature maps; a higher curve means more fine detail. '
        f'Images: {num_images}',
        fontsize=9,
    )
    return save_figure(figure, out)


def _depth_colors():
    from matplotlib.cm import ScalarMappable
    from matplotlib.colors import Normalize

    return ScalarMappable(Normalize(0, 1), cmap='viridis_r')
