"""Measure time and peak memory of exported backbones and models on the CPU.

Takes ONNX files, programs of torch.export, AOTInductor packages, and names of backbones such as rest-small, which run
eagerly. Memory is the growth of the resident set above the loaded model, in a new process for each.
"""

from __future__ import annotations

import multiprocessing
import os
import zipfile
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Callable, Iterator, Sequence

import torch

from mmrest.benchmark.measure import LEAN_MALLOC, compare_times, resident_growth
from mmrest.benchmark.models import OWN_BACKBONES
from mmrest.engine import UsageError, exit_on_user_error
from mmrest.utils.cli import ArgumentParser, add_num, add_shape
from mmrest.utils.tables import format_table

HEADER = ('model', 'MB, first run', 'MB, two runs', 'seconds', 'times faster', 'quartiles')


def load(model: str, patterns: bool = True) -> Callable[[torch.Tensor], Any]:
    """Load a file or build a backbone, and return a function of images (B, 3, H, W).

    Raises:
        UsageError: There is no such file or backbone.
    """
    if model in OWN_BACKBONES:
        kind, arch = OWN_BACKBONES[model]
        return kind(arch).eval()
    if not Path(model).is_file() or Path(model).suffix not in ('.onnx', '.pt2'):
        raise UsageError(f'{model} is no file that ends in .onnx or .pt2, and none of {", ".join(OWN_BACKBONES)}.')
    if model.endswith('.onnx'):
        import onnxruntime

        options = onnxruntime.SessionOptions()
        options.enable_mem_pattern = patterns
        # Idle threads of one session would slow down the model whose turn is next.
        options.add_session_config_entry('session.force_spinning_stop', '1')
        session = onnxruntime.InferenceSession(model, options, providers=['CPUExecutionProvider'])
        return lambda images: session.run(None, {session.get_inputs()[0].name: images.numpy()})
    with zipfile.ZipFile(model) as archive:
        is_package = any('/aotinductor/' in name for name in archive.namelist())
    return torch._inductor.aoti_load_package(model) if is_package else torch.export.load(model).module()


@torch.no_grad()
def peaks(model: str, shape: Sequence[int], patterns: bool = True) -> list[float]:
    """Return by how many MiB this process grows until its peak in one run of a model and in two."""
    run, images = load(model, patterns), torch.rand(1, 3, *shape)
    if model in OWN_BACKBONES:  # what libraries allocate on first use is no part of it
        run(torch.rand(1, 3, 64, 64))
    return resident_growth(*(lambda: run(images),) * 2)


@contextmanager
def lean_malloc() -> Iterator[None]:
    """Start new processes in the environment in which ``mmrest.benchmark`` measures memory."""
    before = dict(os.environ)
    os.environ.update(LEAN_MALLOC)
    try:
        yield
    finally:
        os.environ.clear()
        os.environ.update(before)


def measure(models: Sequence[str], shape: Sequence[int], num_rounds: int, patterns: bool = True) -> list[list[Any]]:
    """Return rows of :data:`HEADER` for models that are timed in turn."""
    functions, images = [load(model, patterns) for model in models], torch.rand(1, 3, *shape)
    steps = [lambda train, run=run: run(images) for run in functions]
    with torch.no_grad():
        times = compare_times(steps, False, num_rounds)
    rows = []
    for model, found in zip(models, times):
        with lean_malloc(), ProcessPoolExecutor(1, multiprocessing.get_context('spawn')) as pool:
            grown = pool.submit(peaks, model, shape, patterns).result()
        numbers = [*(f'{mb:.0f}' for mb in grown), f'{found["median"]:.3f}', f'{found["speedup"]:.2f}']
        rows.append([Path(model).name, *numbers, '{:.2f} - {:.2f}'.format(*found['speedup_quartiles'])])
    return rows


def main(argv: Sequence[str] | None = None) -> None:
    """Run the command line."""
    parser = ArgumentParser(description=__doc__)
    parser.add_argument('models', nargs='+', help=f'.onnx or .pt2 files, or {", ".join(OWN_BACKBONES)}')
    add_shape(parser, (800, 1344), '; default: 800 1344')
    add_num(parser, 'rounds', 7, 'times that each is timed')
    parser.add_argument('--no-patterns', action='store_true', help='turn memory patterns of onnxruntime off')
    args = parser.parse_args(argv)
    with exit_on_user_error():
        rows = measure(args.models, args.shape, args.num_rounds, not args.no_patterns)
    size = 'x'.join(map(str, args.shape))
    print(f'{size}, batch 1, {torch.get_num_threads()} threads, torch {torch.__version__}')
    print(format_table(HEADER, rows))


if __name__ == '__main__':
    main()
