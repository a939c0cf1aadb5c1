"""Run of a benchmark: measurement, printed tables, and files."""

from __future__ import annotations

from pathlib import Path

import torch

from ..engine.errors import UsageError
from ..engine.paths import check_target
from ..utils.fileio import write_json
from .machine import describe_machine, format_machine
from .measure import compare_times, peak_memory
from .models import parse_model
from .profiling import operator_shares
from .report import fit_power, fit_quadratic, format_table, plot_bars, plot_sweep
from .settings import Settings


def run(args: Settings) -> list[dict]:
    """Measure, print tables, write files, and return a row for each model, mode and shape.

    Raises:
        UsageError: A setting cannot work.
    """
    args.check()
    models = [parse_model(text) for text in args.models]
    shapes, modes, rounds = args.shapes, args.modes, args.rounds
    plots = _plot_files(args.plot, modes if args.sweep else list(range(1, len(modes) * len(shapes) + 1)))
    for model in models:
        model.check(args.part, shapes, args.dtype, args.device)
    timed = bool(rounds) and not (args.sweep or args.profile)
    machine = describe_machine(('float32', args.dtype) if timed else (), args.device)
    print(format_machine(machine), flush=True)
    macs = {}
    for shape in shapes if timed else ():
        macs[shape] = [model.count_macs(args.part, shape, args.batch_size) for model in models]
    settings = dict(part=args.part, batch=args.batch_size, dtype=args.dtype, device=args.device)
    settings.update(autocast=args.autocast, compiled=args.compile)
    rows, tables = [], []
    for mode in modes:
        for shape in shapes:
            new = [dict(settings, model=c.label, mode=mode, shape=shape, part=c.part(args.part)) for c in models]
            if args.profile:
                _add_shares(new, models, mode, shape, settings)
            elif timed:
                _add_times(new, models, mode, shape, rounds, settings)
                _add_rates(new, macs[shape], machine['peak_gflops'][args.dtype])
            if args.sweep or not (args.no_memory or args.profile):
                _add_memory(new, mode, shape, args.memory_limit, not args.sweep, settings)
            size = 'x'.join(map(str, shape))
            tables.append(
                f'{_parts(new)}, {mode}, {size}, batch {args.batch_size}, {args.dtype}, {args.device}, '
                f'{torch.get_num_threads()} threads{", autocast" * args.autocast}{", compiled" * args.compile}'
            )
            print(f'\n{tables[-1]}\n' + format_table(new, _columns(new)), flush=True)
            rows += new
    if args.sweep:
        for mode in modes:
            _print_fits([row for row in rows if row['mode'] == mode])
    _write(args, machine, rows, tables, plots)
    return rows


def _plot_files(plot: str | None, names: list[str | int]) -> list[Path]:
    """Return a file for each plot: the given one or, for several plots, the given one with a name added to its stem."""
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
    try:
        results = compare_times(steps, mode == 'train', rounds, settings['device'])
    except RuntimeError as error:
        if settings['dtype'] == 'float32' or settings['autocast'] or 'dtype' not in str(error):
            raise
        raise UsageError(
            f'One of the models does not run with weights in {settings["dtype"]}: {error}. Measure it under autocast, '
            'with --autocast.'
        ) from error
    for row, result in zip(rows, results):
        row.update(
            {
                'seconds': result['median'],
                'images/s': settings['batch'] / result['median'],
                'speedup': result['speedup'],
                'quartiles': '{:.2f} - {:.2f}'.format(*result['speedup_quartiles']),
                'all_seconds': result['seconds'],
            }
        )


def _add_rates(rows, macs, peak) -> None:
    for row, count in zip(rows, macs):
        if count is not None:
            # The backward pass computes two products for each of the forward pass.
            row['GFLOP/s'] = 2 * count * (3 if row['mode'] == 'train' else 1) / row['seconds'] / 1e9
            row['share_of_peak'] = row['GFLOP/s'] / peak
            row['of peak'] = f'{row["share_of_peak"]:.0%}'


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
    keys = (
        'model',
        'seconds',
        'images/s',
        'speedup',
        'quartiles',
        'GFLOP/s',
        'of peak',
        'MB',
        'MB, process',
        'less memory',
    )
    # The kinds of operators are columns as well, in the order of the first row.
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


def _write(args: Settings, machine: dict, rows: list[dict], titles: list[str], plots: list[Path]) -> None:
    if args.out:
        write_json(args.out, dict(**machine, rows=rows))
    size = len(rows) // max(len(plots), 1)
    for i, path in enumerate(plots):
        part = rows[i * size : (i + 1) * size]
        if args.sweep:
            limit = f', out of {args.memory_limit:g} GB' if args.memory_limit else ''
            plot_sweep(part, f'{_parts(part)}, {part[0]["mode"]}, batch {args.batch_size}, {args.dtype}{limit}', path)
        else:
            plot_bars(part, [key for key in ('seconds', 'MB') if key in part[0]], titles[i], path)
