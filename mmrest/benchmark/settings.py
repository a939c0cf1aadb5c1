"""Settings of a benchmark, and the check that they fit together."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Sequence

import torch

from ..engine.errors import UsageError
from ..engine.paths import check_target
from .report import check_format

MODES = ('forward', 'train')
SHAPES, NUM_ROUNDS = ((800, 1344),), 5
SWEEP = ((512, 512), (800, 1344), (1080, 1920), (1600, 2688), (2160, 3840))


@dataclass(frozen=True)
class Settings:
    """Settings of a benchmark, named as the options of ``tools/benchmark.py``.

    Attributes:
        models (Sequence[str]): Models, as :func:`~mmrest.benchmark.parse_model` takes them; the others are compared
            with the first.
        part (str): Part of a model to measure.
        mode (Sequence[str]): Entries of :data:`MODES`.
        shape (Sequence[Sequence[int]], optional): (H, W) of the images in pixels; default: :data:`SHAPES`.
        batch_size (int): Number of images.
        dtype (str): A key of :data:`~mmrest.benchmark.models.DTYPES`.
        autocast (bool): Keep weights and images in float32 and compute under autocast, as detectors always do.
        device (str): CPU or GPU, as torch names it.
        compile (bool): Run the models through ``torch.compile``.
        num_rounds (int, optional): Number of timed rounds, 0 for memory alone; default: :data:`NUM_ROUNDS`.
        no_memory (bool): Measure time only.
        sweep (bool): Measure memory alone, at the shapes of :data:`SWEEP`.
        profile (bool): Measure the shares of operators in the CPU time instead.
        memory_limit (float, optional): Limit in GiB of a process that measures memory.
        out (str, optional): JSON file for all results.
        plot (str, optional): File for plots.
    """

    models: Sequence[str]
    part: str = 'backbone'
    mode: Sequence[str] = MODES
    shape: Sequence[Sequence[int]] | None = None
    batch_size: int = 1
    dtype: str = 'float32'
    autocast: bool = False
    device: str = 'cpu'
    compile: bool = False
    num_rounds: int | None = None
    no_memory: bool = False
    sweep: bool = False
    profile: bool = False
    memory_limit: float | None = None
    out: str | None = None
    plot: str | None = None

    @property
    def modes(self) -> list[str]:
        """Modes to measure, without duplicates."""
        return list(dict.fromkeys(self.mode))

    @property
    def shapes(self) -> list[tuple[int, int]]:
        """Shapes to measure, as (H, W)."""
        return [(height, width) for height, width in (SWEEP if self.sweep else self.shape or SHAPES)]

    @property
    def rounds(self) -> int:
        """Number of timed rounds."""
        return NUM_ROUNDS if self.num_rounds is None else self.num_rounds

    def check(self) -> None:
        """Check the settings without regard to the models.

        Raises:
            UsageError: Settings exclude each other or would be ignored, a device does not exist, or a file cannot be
                written.
        """
        if self.memory_limit is not None and not 0 < self.memory_limit < math.inf:
            raise UsageError(f'--memory-limit {self.memory_limit:g}: give the gigabytes of a process, more than 0.')
        if self.profile and (self.sweep or self.plot):
            raise UsageError('--profile prints shares of time: it goes with neither --sweep nor --plot.')
        self._refuse_unused_options(
            'profile', 'measures no times and no memory', ('num_rounds', 'memory_limit', 'no_memory')
        )
        self._refuse_unused_options(
            'sweep', 'measures memory alone, at sizes of its own', ('shape', 'num_rounds', 'no_memory')
        )
        if self.no_memory and self.num_rounds == 0:
            raise UsageError('--num-rounds 0 and --no-memory leave nothing to measure: leave one of them out.')
        if self.no_memory and self.memory_limit is not None:
            raise UsageError('--memory-limit is for measuring memory: it does not go with --no-memory.')
        if self.autocast and self.dtype not in ('bfloat16', 'float16'):
            raise UsageError('--autocast computes in half precision: give --dtype bfloat16 or float16 as well.')
        if self.autocast and self.part == 'attention':
            raise UsageError('--autocast changes linear layers and convolutions: attention alone has none.')
        self._check_device()
        check_target(self.out, '--out', folder=False)
        if self.plot:
            check_format(self.plot, '--plot')

    def _refuse_unused_options(self, name: str, does: str, others: Sequence[str]) -> None:
        values = ((other, getattr(self, other)) for other in others)
        given = [f'--{other.replace("_", "-")}' for other, value in values if value is not None and value is not False]
        if getattr(self, name) and given:
            raise UsageError(f'--{name} {does}: leave {" and ".join(given)} out.')

    def _check_device(self) -> None:
        name = self.device
        try:
            device = torch.device(name)
        except RuntimeError:
            raise UsageError(f'--device {name}: there is no such device; give cpu, cuda, cuda:1 ...') from None
        if device.type not in ('cpu', 'cuda'):
            raise UsageError(f'--device {name}: only cpu and cuda are measured.')
        if device.type == 'cuda' and self.profile:
            raise UsageError(f"--profile gives shares of the CPU's time: it does not go with --device {name}.")
        if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
            raise UsageError(f'--device {name}: torch sees {torch.cuda.device_count() or "no"} GPU here.')
