"""Make the environment mmrest is tested in: torch, torchvision, mmcv-lite, mmdet, mmsegmentation, mmpretrain and
mmrest itself, in the versions of constraints.txt, in a virtual environment. Nothing is compiled.

Run by any Python 3.10 to 3.13 (``make install`` does); it needs the standard library only. It can be run
again at any time: what is already there is kept, and where an earlier run was cut short it goes on.
"""

# No `from __future__ import annotations`, no new syntax: an old Python must be able to read this file, to be
# refused plainly.
import argparse
import hashlib
import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

from setup_progress import SetupError, run_logged

ROOT = Path(__file__).resolve().parent.parent
CONSTRAINTS = ROOT / 'constraints.txt'
STAMP_INPUTS = (CONSTRAINTS, ROOT / 'setup.py', Path(__file__).resolve())
STAMP_NAME = '.mmrest-ready'
MIN_PYTHON, MAX_PYTHON = (3, 10), (3, 13)

STEPS = (
    # Alone: a pip that replaces itself should have nothing left to do.
    ('build tools', ['pip', 'setuptools', 'wheel']),
    # Together: one resolution, in which torchvision is the one for torch.
    (
        'packages',
        (
            'torch torchvision mmcv-lite mmengine mmdet mmsegmentation mmpretrain ftfy regex numpy opencv-python '
            'modelindex pytest pytest-cov pytest-xdist hypothesis codespell import-linter mypy ruff onnx onnxruntime '
            'onnxscript tensorboard timm safetensors huggingface-hub'
        ).split(),
    ),
)
# Distributions that share their files with one that is installed here. They have to go first: removing one later
# would take the other's files with it.
SHARING_FILES = {
    'mmcv': 'mmcv-lite',
    'mmcv-full': 'mmcv-lite',
    'onedl-mmcv': 'mmcv-lite',
    'onedl-mmengine': 'mmengine',
    'onedl-mmdetection': 'mmdet',
    'onedl-mmsegmentation': 'mmsegmentation',
    'onedl-mmpretrain': 'mmpretrain',
}
# Settings of pip that decide where packages come from. uv does not read them.
PIP_SETTINGS = {
    'cert',
    'client-cert',
    'constraint',
    'extra-index-url',
    'find-links',
    'index-url',
    'no-index',
    'proxy',
    'trusted-host',
}

EPILOG = """\
environment variables:
  MMREST_NO_UV=1        the same as --no-uv
  PIP_*, UV_*           settings of pip and uv; PIP_EXTRA_INDEX_URL and PIP_FIND_LINKS name further places for
                        packages, e.g. for a torch built for another CUDA version. uv does not read those of pip:
                        where pip's name a place for packages, pip is used
"""


# --- Preconditions, checked before anything is installed ---


def python_facts(python: str) -> dict:
    """Return version and missing standard modules of a Python, which need not be the one running this."""
    code = (
        'import importlib.util, json, sys\n'
        'missing = [m for m in ("venv", "ensurepip") if importlib.util.find_spec(m) is None]\n'
        'print(json.dumps(dict(version=sys.version_info[:3], missing=missing)))'
    )
    return json.loads(subprocess.check_output([python, '-I', '-c', code]).decode())


def find_problems(facts: dict, creating: bool, uv: str = '') -> list:
    """Return the reasons why nothing can be installed, each with the way out."""
    version = '.'.join(str(part) for part in facts['version'])
    short = '.'.join(str(part) for part in facts['version'][:2])
    if not MIN_PYTHON <= tuple(facts['version'][:2]) <= MAX_PYTHON:
        why = 'mmrest needs Python 3.10 to 3.13'
        if tuple(facts['version'][:2]) > MAX_PYTHON:
            why += ': mmengine 0.10.7 calls pkgutil.find_loader, which Python 3.14 removed'
        return [
            'Python {} cannot be used, {}. Name another one: {}make install PYTHON=python3.11'.format(
                version, why, '' if creating else 'make clean && '
            )
        ]
    if creating and facts['missing'] and not uv:
        return [
            'Python {} lacks its standard module {}. Install it: apt-get install python{}-venv'.format(
                short, ' and '.join(facts['missing']), short
            )
        ]
    return []


# --- The choice between uv and pip ---


def find_pip_settings(python: str, environ: dict) -> list:
    """Return the names of pip's settings, in variables or files, that say where packages come from."""
    names = {key[4:].lower().replace('_', '-') for key, value in environ.items() if key.startswith('PIP_') and value}
    result = subprocess.run(
        [python, '-E', '-m', 'pip', 'config', 'list'],
        env=environ,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        universal_newlines=True,
    )
    # Lines like global.index-url='...'; a Python without pip has none.
    names.update(re.findall(r'^[^=\s]*\.([a-z-]+)=', result.stdout, re.MULTILINE))
    return sorted(names & PIP_SETTINGS)


def choose_uv(python: str, environ: dict, which=shutil.which) -> str:
    """Return the path of uv, or '' where pip is to be used."""
    uv = '' if environ.get('MMREST_NO_UV') else which('uv') or ''
    settings = find_pip_settings(python, environ) if uv else []
    if settings:
        print('Using pip instead of uv, for the sake of its settings: {}.'.format(', '.join(settings)), flush=True)
    return '' if settings else uv


# --- The stamp: makes a second run quick ---


def fingerprint(root: Path, inputs) -> str:
    """Return a hash of what decides how the environment looks, and of the place: mmrest is installed as a link."""
    digest = hashlib.sha256(str(root).encode())
    for path in inputs:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_ready(venv: Path, expected: str) -> bool:
    """Return True if an earlier run came to its end with the same inputs."""
    stamp = venv / STAMP_NAME
    return venv_python(venv).exists() and stamp.exists() and stamp.read_text().strip() == expected


# --- The steps ---


def venv_python(venv: Path) -> Path:
    """Return the path of the Python in an environment."""
    return venv / 'bin' / 'python'


def venv_works(venv: Path, uv: str = '') -> bool:
    """Return True if the environment has a Python that runs, and a pip unless uv does its work.

    An interrupted creation leaves neither.
    """
    command = [str(venv_python(venv)), '-I'] + (['-c', 'pass'] if uv else ['-m', 'pip', '--version'])
    return (
        (venv / 'pyvenv.cfg').exists()
        and venv_python(venv).exists()
        and subprocess.call(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0
    )


def create_venv(venv: Path, uv: str = '') -> None:
    """Make an empty virtual environment, in place of one that does not work.

    Raises:
        SetupError: The folder holds something else, or the environment cannot be made.
    """
    if venv.exists():
        if not (venv / 'pyvenv.cfg').exists():
            raise SetupError(
                '{} exists but is not a virtual environment. Remove it or name another place with --venv.'.format(venv)
            )
        print('The environment in {} is incomplete: making it anew.'.format(venv), flush=True)
        shutil.rmtree(str(venv))
    command = [uv, 'venv', '--no-project', '--python', sys.executable] if uv else [sys.executable, '-m', 'venv']
    result = subprocess.run(
        command + [str(venv)], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, universal_newlines=True
    )
    if result.returncode != 0:
        raise SetupError('The virtual environment {} could not be made:\n{}'.format(venv, result.stdout))


def child_environment(variables: dict) -> dict:
    """Return the variables for pip, uv and the environment's Python; those that the user has set stay."""
    environ = {key: value for key, value in variables.items() if key not in ('PYTHONPATH', 'PYTHONHOME')}
    # Without PYTHONUNBUFFERED pip's lines would arrive in blocks and the progress would stand still for minutes.
    environ.update(PYTHONUNBUFFERED='1', PIP_DISABLE_PIP_VERSION_CHECK='1', PIP_NO_INPUT='1', PIP_USER='0')
    return environ


def last_line(text: str) -> str:
    """Return the last line of a text, '' if it is empty."""
    return (text.strip().splitlines() or [''])[-1]


class Installer:
    """The steps inside an existing virtual environment. What is there in the right version is left alone."""

    def __init__(self, venv: Path, environ: dict, uv: str = ''):
        self.venv, self.environ, self.uv = venv, environ, uv
        self.python = str(venv_python(venv))

    def command(self, verb: str, *arguments: str) -> list:
        """Return the command that installs or uninstalls, by uv or pip."""
        if self.uv:
            return [self.uv, 'pip', verb, '--python', self.python] + list(arguments)
        return [self.python, '-m', 'pip', verb] + ['-y'] * (verb == 'uninstall') + list(arguments)

    def run(self, label: str, command: list) -> None:
        """Run a command and show its progress under a label; its output goes to a log in the environment."""
        run_logged(label, command, self.venv / 'logs' / (label.replace(' ', '-') + '.log'), self.environ)

    def add(self, label: str, *arguments: str) -> None:
        """Install packages in the versions of constraints.txt."""
        self.run(label, self.command('install', '-c', str(CONSTRAINTS), *arguments))

    def run_python(self, code: str) -> tuple:
        """Run code in the environment and return the last line of its output and its error, '' without one."""
        result = subprocess.run(
            [self.python, '-I', '-c', code],
            env=self.environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            universal_newlines=True,
        )
        if result.returncode == 0:
            return last_line(result.stdout), ''
        return '', last_line(result.stderr) or 'Python ended with status {}'.format(result.returncode)

    def remove_what_shares_files(self) -> None:
        """Remove a compiled mmcv, which earlier versions installed, and what else shares files with ours."""
        names = sorted(set(SHARING_FILES) | set(SHARING_FILES.values()))
        output, error = self.run_python(DISTRIBUTIONS_PROBE.format(names))
        installed = set() if error else set(json.loads(output))
        others = installed & set(SHARING_FILES)
        if others:
            ours = installed & {SHARING_FILES[name] for name in others}
            self.run('removing ' + ' '.join(sorted(others)), self.command('uninstall', *sorted(others | ours)))
        shutil.rmtree(str(self.venv / 'torchvision-aside'), ignore_errors=True)  # by earlier versions, too

    def install_opencv_that_works(self) -> None:
        """Put the headless files over opencv-python's where libGL is missing, as in many containers."""
        error = self.run_python('import cv2')[1]
        if re.search('libGL|libgthread', error):
            print('This machine has no libGL: opencv-python-headless takes the place of opencv-python.')
            self.add('opencv headless', '--force-reinstall', '--no-deps', 'opencv-python-headless')
            error = self.run_python('import cv2')[1]
        if error:
            raise SetupError('OpenCV cannot be imported: {}'.format(error))

    def install(self) -> None:
        """Run all steps.

        Raises:
            SetupError: One of them failed.
        """
        self.remove_what_shares_files()
        for label, packages in STEPS:
            self.add(label, *packages)
        self.install_opencv_that_works()
        self.add('mmrest', '--no-deps', '--no-build-isolation', '-e', str(ROOT))
        self.run('mmcv operators', [self.python, '-I', '-m', 'mmrest.mmcv_ops', '--install'])


# Prints which of the distributions are installed, as JSON.
DISTRIBUTIONS_PROBE = """
import json
from importlib import metadata
def is_installed(name):
    try:
        return bool(metadata.version(name))
    except metadata.PackageNotFoundError:
        return False
print(json.dumps([name for name in {} if is_installed(name)]))
"""


def set_up(venv: Path, no_uv: bool = False) -> None:
    """Make the environment, or complete it.

    Raises:
        SetupError: It cannot be made, or the doctor finds something wrong with it.
    """
    expected = fingerprint(ROOT, STAMP_INPUTS)
    if is_ready(venv, expected):
        print('The environment in {} is ready.'.format(venv))
        return
    environ = child_environment(os.environ)
    uv = '' if no_uv else choose_uv(sys.executable, environ)
    creating = not venv_works(venv, uv)
    facts = python_facts(sys.executable if creating else str(venv_python(venv)))
    problems = find_problems(facts, creating, uv)
    if problems:
        raise SetupError('\n'.join(problems))
    print(
        'Setting up {} with Python {} and {}.'.format(
            venv, '.'.join(map(str, facts['version'])), 'uv' if uv else 'pip'
        ),
        flush=True,
    )
    if creating:
        create_venv(venv, uv)
    stamp = venv / STAMP_NAME
    if stamp.exists():
        stamp.unlink()  # from here on the environment is not what an earlier stamp says
    Installer(venv, environ, uv).install()
    if subprocess.call([str(venv_python(venv)), str(ROOT / 'mmrest' / 'doctor.py')], env=environ) != 0:
        raise SetupError('Everything is installed, but the checks above found a problem.')
    stamp.write_text(expected + '\n')


def main(argv=None) -> int:
    """Run the command line and return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument(
        '--venv', default=str(ROOT / '.venv'), metavar='DIR', help='folder of the environment; default: %(default)s'
    )
    parser.add_argument('--no-uv', action='store_true', help='use pip even where uv is on PATH')
    args = parser.parse_args(argv)
    try:
        set_up(Path(os.path.abspath(args.venv)), args.no_uv)
    except SetupError as error:
        print('\n{}'.format(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nInterrupted. Run again to go on from here.', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
