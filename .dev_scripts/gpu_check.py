"""Check and measure mmrest on one NVIDIA GPU, on a machine without a network: one table, one JSON file.

Four parts: 1 parity with float64, 2 time and memory, 3 short training runs, 4 the largest image that can be trained on.
Each runs in processes of its own, within a budget of seconds, and parts that are left out leave theirs to the others.
Results are written as they come. The machine needs torch 2.11 or newer with torchvision and Triton, NumPy 2, OpenCV,
SciPy and matplotlib; what else mmdet needs is installed from wheels, which .dev_scripts/gpu_wheels.py fetches, into a
temporary folder.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from pathlib import Path

from gpu_checks import report, wheels
from gpu_checks.results import FAILED, Settings
from gpu_checks.supervisor import PARTS, Supervisor


def make_parser() -> argparse.ArgumentParser:
    """Return the parser of the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--parts', default='', help='numbers of the parts, e.g. 1,2 (default: all)')
    parser.add_argument(
        '--quick', action='store_true', help='parts 1 and 2 without torch.compile and other backbones, within 3 minutes'
    )
    parser.add_argument(
        '--out', type=Path, default=Path('gpu_check.json'), help='file of results (default: %(default)s)'
    )
    parser.add_argument('--device', default='cuda', help='cuda, cuda:1 ...; cpu with --dry-run (default: %(default)s)')
    parser.add_argument('--dry-run', action='store_true', help='everything at tiny sizes, whose times mean nothing')
    parser.add_argument('--golden', type=Path, help='folder with the values of the published models')
    parser.add_argument(
        '--wheels',
        type=Path,
        help=f'folder of wheels to install in any case (default: {wheels.FOLDER.name}, if need be)',
    )
    return parser


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line; ``parts`` becomes a list of numbers."""
    parser = make_parser()
    args = parser.parse_args(arguments)
    known = [number for number, part in PARTS.items() if not args.quick or part.quick_budget is not None]
    try:
        args.parts = sorted({int(number) for number in args.parts.split(',')}) if args.parts else known
    except ValueError:
        parser.error(f'--parts {args.parts}: give numbers, as in 1,2')
    wrong = [number for number in args.parts if number not in known]
    if wrong:
        parser.error(f'--parts: there is no part {wrong[0]}{" with --quick" * args.quick}, only {known}')
    if args.device == 'cpu' and not args.dry_run:
        parser.error('--device cpu goes with --dry-run alone: what is measured here is a GPU')
    args.device = 'cuda:0' if args.device == 'cuda' else args.device  # torch wants a number in places
    for folder in (args.golden, args.wheels):
        if folder and not folder.is_dir():
            parser.error(f'there is no folder {folder}')
    return args


def find_golden(given: Path | None) -> str | None:
    """Return the folder with the values of the published models; None where there is none."""
    places = [given] if given else [wheels.ROOT / 'shared' / 'golden', wheels.ROOT.parent / 'shared' / 'golden']
    return next((str(place.resolve()) for place in places if place.is_dir()), None)


def prepare(folder: Path | None, target: Path) -> None:
    """Install the wheels, if they are asked for or a library is missing.

    Raises:
        WheelError: A library is missing still.
    """
    if folder or wheels.lacking():
        wheels.install(folder or wheels.FOLDER, target)
    if wheels.lacking():
        raise wheels.WheelError(
            f'{", ".join(wheels.lacking())} cannot be imported: fetch the wheels where there is a network '
            f'(python .dev_scripts/gpu_wheels.py) and bring the folder {wheels.FOLDER.name} along.'
        )


def find_device_problem(device: str) -> str:
    """Return why a device cannot be used; '' where it can."""
    import torch

    if device.startswith('cuda') and not torch.cuda.is_available():
        return 'torch sees no GPU here: --device cpu --dry-run runs everything at tiny sizes on the CPU.'
    return ''


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return the exit status: 0 where nothing has failed."""
    started = time.time()
    args = parse(arguments)
    with tempfile.TemporaryDirectory(prefix='gpu_check_') as folder:
        try:
            prepare(args.wheels, Path(folder) / 'site')
            sys.path.insert(0, str(wheels.ROOT))
        except wheels.WheelError as error:
            print(error, file=sys.stderr)
            return 2
        problem = find_device_problem(args.device)
        if problem:
            print(problem, file=sys.stderr)
            return 2
        settings = Settings(args.device, args.dry_run, args.quick, find_golden(args.golden), folder)
        supervisor = Supervisor(settings, args.out, started, dry=args.dry_run, quick=args.quick)
        try:
            state = supervisor.run(args.parts)
        finally:
            table = report.render(supervisor.state)
            supervisor.save(table=table.splitlines())
            print(table, flush=True)
    print(f'{time.time() - started:.0f} s in all; everything is in {args.out}.')
    return int(any(row['status'] == FAILED for part in state['parts'].values() for row in part['rows']))


if __name__ == '__main__':
    sys.exit(main())
