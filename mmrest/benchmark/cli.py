"""What ``tools/benchmark.py`` does with its arguments."""

from __future__ import annotations

import argparse
import json
import math
import platform
from pathlib import Path

import torch

from ..engine.errors import UsageError
from ..engine.paths import check_target
from ..utils.fileio import atomic_write
from .baselines import BASELINES
from .measure import compare_times, peak_memory
from .models import DTYPES, FLAGS, IMPLS, OWN, PARTS, PEERS, parse_model
from .profiling import operator_shares
from .report import check_format, fit_power, fit_quadratic, format_table, plot_bars, plot_sweep

MODES = ('forward', 'train')
SHAPES, ROUNDS = ('800x1344',), 5
SWEEP = ('512x512', '800x1344', '1080x1920', '1600x2688', '2160x3840')


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of the command line."""
    names = ', '.join([*OWN, *PEERS])
    parser.add_argument(
        'models',
        nargs='+',
        metavar='MODEL',
        help=f'what to compare, the first with each of the others: {names} or a config file of mmdet; '
        f'our own with options after a colon: {", ".join([*BASELINES, *FLAGS, *IMPLS])}, as in '
        f'rest-small:{",".join(FLAGS)}',
    )
    parser.add_argument(
        '--part',
        choices=PARTS,
        default='backbone',
        help='what of a model to measure; that of a config is measured whole',
    )
    parser.add_argument(
        '--mode',
        choices=MODES,
        nargs='+',
        default=list(MODES),
        help='train: forward and backward pass, without the optimiser',
    )
    parser.add_argument('--shape', nargs='+', metavar='HxW', help=f'image sizes in pixels; default: {" ".join(SHAPES)}')
    parser.add_argument('--batch', type=int, default=1, help='images at a time')
    parser.add_argument('--dtype', choices=list(DTYPES), default='float32')
    parser.add_argument('--device', default='cpu', help='cpu, cuda, cuda:1 ...')
    parser.add_argument('--compile', action='store_true', help='through torch.compile')
    parser.add_argument('--rounds', type=int, help=f'how often each is timed; 0: memory only; default: {ROUNDS}')
    parser.add_argument('--no-memory', action='store_true', help='time only')
    parser.add_argument('--sweep', action='store_true', help='memory alone, at sizes from 512x512 to 2160x3840')
    parser.add_argument(
        '--profile',
        action='store_true',
        help='instead of times and memory, what share of the time on a CPU goes to which operators',
    )
    parser.add_argument(
        '--memory-limit', type=float, metavar='GB', help='what a process may have in all when memory is measured (CPU)'
    )
    parser.add_argument('--out', help='json file for all that was measured')
    parser.add_argument('--plot', help='PNG file; for several pictures a number, or the mode, is added to its name')


def run(args: argparse.Namespace) -> list[dict]:
    """Measure, print tables, write files.

    Raises:
        UsageError: An argument cannot work.
    """
    _check(args)
    models = [parse_model(text) for text in args.models]
    shapes = [_shape(text) for text in (SWEEP if args.sweep else args.shape or SHAPES)]
    rounds = ROUNDS if args.rounds is None else args.rounds
    modes = list(dict.fromkeys(args.mode))
    plots = _plot_files(args.plot, modes if args.sweep else list(range(1, len(modes) * len(shapes) + 1)))
    for model in models:
        model.check(args.part, shapes, args.dtype)
    settings = dict(part=args.part, batch=args.batch, dtype=args.dtype, device=args.device, compiled=args.compile)
    rows, tables = [], []
    for mode in modes:
        for shape in shapes:
            new = [dict(settings, model=c.label, mode=mode, shape=shape, part=c.part(args.part)) for c in models]
            if args.profile:
                _add_shares(new, models, mode, shape, settings)
            elif rounds and not args.sweep:
                _add_times(new, models, mode, shape, rounds, settings)
            if args.sweep or not (args.no_memory or args.profile):
                _add_memory(new, mode, shape, args.memory_limit, not args.sweep, settings)
            size = 'x'.join(map(str, shape))
            tables.append(
                f'{_parts(new)}, {mode}, {size}, batch {args.batch}, {args.dtype}, {args.device}, '
                f'{torch.get_num_threads()} threads{", compiled" * args.compile}'
            )
            print(f'\n{tables[-1]}\n' + format_table(new, _columns(new)), flush=True)
            rows += new
    if args.sweep:
        for mode in modes:
            _print_fits([row for row in rows if row['mode'] == mode])
    _write(args, rows, tables, plots)
    return rows


def _check(args: argparse.Namespace) -> None:
    """Refuse what cannot work, or would be ignored, whatever the models and shapes."""
    if args.batch < 1 or args.rounds is not None and args.rounds < 0:
        raise UsageError('--batch must be 1 or more and --rounds 0 or more.')
    if args.memory_limit is not None and not 0 < args.memory_limit < math.inf:
        raise UsageError(f'--memory-limit {args.memory_limit:g}: give the gigabytes of a process, more than 0.')
    if args.profile and (args.sweep or args.plot):
        raise UsageError('--profile prints shares of time: it goes with neither --sweep nor --plot.')
    for name, does, others in (
        ('profile', 'measures no times and no memory', ('rounds', 'memory_limit', 'no_memory')),
        ('sweep', 'measures memory alone, at sizes of its own', ('shape', 'rounds', 'no_memory')),
    ):
        values = ((other, getattr(args, other)) for other in others)
        given = [f'--{other.replace("_", "-")}' for other, value in values if value is not None and value is not False]
        if getattr(args, name) and given:
            raise UsageError(f'--{name} {does}: leave {" and ".join(given)} out.')
    if args.no_memory and args.rounds == 0:
        raise UsageError('--rounds 0 and --no-memory leave nothing to measure: leave one of them out.')
    if args.no_memory and args.memory_limit is not None:
        raise UsageError('--memory-limit is for measuring memory: it does not go with --no-memory.')
    _check_device(args.device, args.profile)
    check_target(args.out, '--out', folder=False)
    if args.plot:
        check_format(args.plot, '--plot')


def _check_device(name: str, profile: bool) -> None:
    try:
        device = torch.device(name)
    except RuntimeError:
        raise UsageError(f'--device {name}: there is no such device; give cpu, cuda, cuda:1 ...') from None
    if device.type not in ('cpu', 'cuda'):
        raise UsageError(f'--device {name}: only cpu and cuda are measured.')
    if device.type == 'cuda' and profile:
        raise UsageError(f"--profile gives shares of the CPU's time: it does not go with --device {name}.")
    if device.type == 'cuda' and (device.index or 0) >= torch.cuda.device_count():
        raise UsageError(f'--device {name}: torch sees {torch.cuda.device_count() or "no"} GPU here.')


def _plot_files(plot: str | None, names: list[str | int]) -> list[Path]:
    """A file for each picture: the one that was given, or with several of them that with a name added."""
    if not plot:
        return []
    path = Path(plot)
    files = [path] if len(names) == 1 else [path.with_name(f'{path.stem}_{name}{path.suffix}') for name in names]
    for file in files:
        check_target(file, '--plot', folder=False)
    return files


def _parts(rows: list[dict]) -> str:
    return ' and '.join(dict.fromkeys(row['part'] for row in rows))


def _add_times(rows, models, mode, shape, rounds, settings) -> None:
    steps = [model.build(shape=shape, **settings) for model in models]
    for row, result in zip(rows, compare_times(steps, mode == 'train', rounds, settings['device'])):
        row.update(
            {
                'seconds': result['median'],
                'images/s': settings['batch'] / result['median'],
                'speedup': result['speedup'],
                'quartiles': '{:.2f} - {:.2f}'.format(*result['speedup_quartiles']),
                'all_seconds': result['seconds'],
            }
        )


def _add_shares(rows, models, mode, shape, settings) -> None:
    for row, model in zip(rows, models):
        row['shares'] = operator_shares(model.build(shape=shape, **settings), mode == 'train')
        row.update({kind: f'{share:.1%}' for kind, share in row['shares'].items()})


def _add_memory(rows, mode, shape, limit, process, settings) -> None:
    for row in rows:
        result = peak_memory(row['model'], mode == 'train', limit, process, shape=shape, **settings)
        row['MB'] = result.get('failed', result.get('tensor_mb'))
        if 'process_mb' in result:
            row['MB, process'] = result['process_mb']
        if not isinstance(row['MB'], str) and not isinstance(rows[0]['MB'], str):
            row['less memory'] = rows[0]['MB'] / row['MB']


def _columns(rows: list[dict]) -> list[str]:
    keys = ('model', 'seconds', 'images/s', 'speedup', 'quartiles', 'MB', 'MB, process', 'less memory')
    # Kinds of operators are columns too, in the order of the first row.
    keys = (*keys, *dict.fromkeys(kind for row in rows for kind in row.get('shares', {})))
    return [key for key in keys if any(key in row for row in rows)]


def _print_fits(rows: list[dict]) -> None:
    for model in dict.fromkeys(row['model'] for row in rows):
        points = [
            (row['shape'][0] * row['shape'][1] / 1e6, row['MB'])
            for row in rows
            if row['model'] == model and not isinstance(row['MB'], str)
        ]
        if len(points) > 1:
            linear, quadratic = fit_quadratic(points)
            print(
                f'{model}, {rows[0]["mode"]}: memory ~ pixels^{fit_power(points):.2f} over {len(points)} sizes; '
                f'MB = {linear:.0f} x {quadratic:+.0f} x^2 at x megapixels',
                flush=True,
            )


def _write(args, rows: list[dict], titles: list[str], plots: list[Path]) -> None:
    if args.out:
        machine = dict(machine=platform.machine(), torch=torch.__version__, threads=torch.get_num_threads())
        atomic_write(args.out, json.dumps(dict(**machine, rows=rows), indent=1).encode())
    size = len(rows) // max(len(plots), 1)
    for i, path in enumerate(plots):
        part = rows[i * size : (i + 1) * size]
        if args.sweep:
            limit = f', out of {args.memory_limit:g} GB' if args.memory_limit else ''
            plot_sweep(part, f'{_parts(part)}, {part[0]["mode"]}, batch {args.batch}, {args.dtype}{limit}', path)
        else:
            plot_bars(part, [key for key in ('seconds', 'MB') if key in part[0]], titles[i], path)


def _shape(text: str) -> tuple[int, int]:
    height, _, width = text.partition('x')
    if not (height.isdecimal() and width.isdecimal() and int(height) and int(width)):
        raise UsageError(f'--shape {text}: give height x width in pixels, as in 800x1344.')
    return int(height), int(width)
