"""Run a command: ``mmrest NAME ...``, or ``python -m mmrest NAME ...``.

Standard library only: ``mmrest_cli.py`` runs this file by its path, without importing mmrest, which needs torch. A
command is imported when it is run.
"""

from __future__ import annotations

import argparse
import ast
import difflib
import importlib
import re
import runpy
import sys
from pathlib import Path
from typing import Callable, Sequence

PACKAGE = Path(__file__).resolve().parent
# The module of each command, below mmrest: its main(argv) is called, and its docstring begins with the line of --help.
COMMANDS = {
    'train': 'commands.train',
    'test': 'commands.test',
    'predict': 'commands.demo',
    'check': 'commands.check_dataset',
    'browse': 'commands.browse_dataset',
    'convert': 'commands.convert_checkpoint',
    'publish': 'commands.publish',
    'export': 'commands.export_onnx',
    'flops': 'commands.get_flops',
    'benchmark': 'commands.benchmark',
    'analyze': 'commands.analyze',
    'ablation': 'commands.run_ablation',
    'demo': 'commands.run_demo',
    'shapes': 'commands.draw_shapes',
    'configs': 'utils.resources',
    'mmcv-ops': 'mmcv_ops.__main__',
    'doctor': 'doctor',
}
# These use the standard library only, and are run by their path: without torch, and at once.
STANDARD_LIBRARY = ('configs', 'doctor')


def source_file(name: str) -> Path:
    """Return the file of a command."""
    return PACKAGE.joinpath(*COMMANDS[name].split('.')).with_suffix('.py')


def summarize(name: str) -> str:
    """Return the line of a command in the help: its docstring up to the first colon, semicolon or period."""
    docstring = ast.get_docstring(ast.parse(source_file(name).read_text(encoding='utf-8')))
    return re.split('[:;.]', docstring, maxsplit=1)[0]


def build_parser() -> argparse.ArgumentParser:
    """Return the parser of what stands before a command; its help lists the commands."""
    width = max(map(len, COMMANDS))
    commands = '\n'.join(f'  {name:{width}}  {summarize(name)}' for name in COMMANDS)
    parser = argparse.ArgumentParser(
        prog='mmrest',
        usage='%(prog)s [-h] [--version] COMMAND ...',
        description='ResT and ResTv2 backbones for OpenMMLab.',
        epilog=f'commands:\n{commands}\n\nThe arguments of a command: mmrest COMMAND --help',
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    version = runpy.run_path(str(PACKAGE / 'version.py'))['__version__']
    parser.add_argument('--version', action='version', version=f'%(prog)s {version}')
    return parser


def suggest(word: str) -> str:
    """Return a hint for a command that does not exist, which may be the name of a file in ``tools/``."""
    names = {source_file(name).stem: name for name in COMMANDS} | {name: name for name in COMMANDS}
    close = difflib.get_close_matches(word, names, n=1)
    return f'Did you mean {names[close[0]]}?' if close else 'List them all: mmrest --help'


def load(name: str) -> Callable[[Sequence[str]], int | None]:
    """Return the ``main`` of a command.

    Raises:
        SystemExit: torch or mmengine is not installed, and the command needs them.
    """
    if name in STANDARD_LIBRARY:
        return runpy.run_path(str(source_file(name)))['main']
    try:
        importlib.import_module('mmrest')
    except ImportError as error:
        if not isinstance(error.__cause__, ModuleNotFoundError):
            raise
        raise SystemExit(f'error: {error}') from None  # mmrest/__init__.py names what is missing, and the fix
    return importlib.import_module(f'mmrest.{COMMANDS[name]}').main


def main(argv: Sequence[str] | None = None) -> int | None:
    """Run the command that the first argument names with the other arguments, and return the exit status."""
    name, *arguments = (sys.argv[1:] if argv is None else argv) or ['']
    if name in COMMANDS:
        before = sys.argv
        sys.argv = [f'mmrest {name}', *arguments]  # from which argparse takes the name of the program
        try:
            return load(name)(arguments)
        finally:
            sys.argv = before
    parser = build_parser()
    if not name:
        parser.print_help(sys.stderr)
        return 2
    if not name.startswith('-'):
        parser.error(f'there is no command {name}. {suggest(name)}')
    parser.parse_args([name, *arguments])  # prints the help or the version, or refuses the option
    return None


if __name__ == '__main__':
    sys.exit(main())
