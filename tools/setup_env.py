"""Make the environment mmrest is tested in: torch, mmcv with its compiled ops, mmdet, mmsegmentation, mmpretrain
and mmrest itself, in the versions of constraints.txt, in a virtual environment.

Run by any Python 3.9 to 3.12 (``make install`` does); it needs the standard library only. It can be run
again at any time: what is already there is kept, and where an earlier run was cut short it goes on.

mmcv's ops are compiled here because mmcv offers no ready-made package for current torch versions.
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
PYTHON_LOW, PYTHON_HIGH = (3, 9), (3, 12)
COMPILERS = ('c++', 'g++', 'clang++')

# The libraries come before mmcv: importing mmcv needs OpenCV and mmengine, and a download that fails should
# fail before the long compilation.
PIP_STEPS = (
    ('build tools', ['pip', 'setuptools', 'wheel', 'ninja', 'psutil']),
    ('torch', ['torch']),
    ('libraries', ['mmengine', 'mmdet', 'mmsegmentation', 'ftfy', 'regex', 'numpy', 'opencv-python',
                   'mmpretrain', 'pytest', 'ruff']),
    ('extras', ['hypothesis', 'onnx', 'onnxruntime', 'onnxscript', 'tensorboard']),
)
# Where a torchvision that does not go with torch is kept, off the path; tests look there.
ASIDE = 'torchvision-aside'

EPILOG = """\
environment variables:
  MAX_JOBS              files of mmcv compiled at once, about 2 GB of memory each (default: one per core)
  CXX                   the C++ compiler
  CUDA_VISIBLE_DEVICES  set it to nothing to build mmcv's ops for the CPU only
  FORCE_CUDA=1          build mmcv's ops for CUDA though no GPU is seen
  PIP_*                 pip's own settings; PIP_EXTRA_INDEX_URL and PIP_FIND_LINKS name further places for
                        packages, e.g. for a torch built for another CUDA version or for the CPU only
"""


# --- What is needed before anything is installed ---

def python_facts(python: str) -> dict:
    """Version, C header and standard modules of a Python, which need not be the one running this."""
    code = ('import importlib.util, json, os, sys, sysconfig\n'
            'header = os.path.join(sysconfig.get_paths()["include"], "Python.h")\n'
            'missing = [m for m in ("venv", "ensurepip") if importlib.util.find_spec(m) is None]\n'
            'print(json.dumps(dict(version=sys.version_info[:3], header=header, missing=missing,\n'
            '                      has_header=os.path.exists(header))))')
    return json.loads(subprocess.check_output([python, '-I', '-c', code]).decode())


def find_compiler(environ: dict, which=shutil.which) -> str:
    """The C++ compiler to use, or '' if there is none. The user's CXX counts; it may hold options."""
    names = [environ['CXX'].split()[0]] if environ.get('CXX') else COMPILERS
    return next((name for name in names if which(name)), '')


def find_problems(facts: dict, compiler: str, creating: bool) -> list:
    """What stands in the way of installing, each with what to do about it."""
    version = '.'.join(str(part) for part in facts['version'])
    short = '.'.join(str(part) for part in facts['version'][:2])
    if not PYTHON_LOW <= tuple(facts['version'][:2]) <= PYTHON_HIGH:
        # The other problems would be about a Python that is not going to be used.
        return ['Python {} cannot be used: mmcv 2.1 and its NumPy need Python 3.9 to 3.12. Name another one: '
                '{}make install PYTHON=python3.11'.format(version, '' if creating else 'make clean && ')]
    problems = []
    if not compiler:
        problems.append('No C++ compiler is on PATH ($CXX if set, else {}), but the ops of mmcv are compiled '
                        'here. Install one: apt-get install build-essential | dnf install gcc-c++ | '
                        'xcode-select --install'.format(', '.join(COMPILERS)))
    if not facts['has_header']:
        problems.append('{} is missing, which compiling for Python {} needs. Install it: apt-get install '
                        'python{}-dev | dnf install python3-devel'.format(facts['header'], short, short))
    if creating and facts['missing']:
        problems.append('Python {} lacks its standard module {}. Install it: apt-get install python{}-venv'
                        .format(short, ' and '.join(facts['missing']), short))
    return problems


# --- The stamp: makes a second run quick ---

def fingerprint(root: Path, inputs) -> str:
    """Hash of what decides how the environment looks, and of the place: mmrest is installed as a link."""
    digest = hashlib.sha256(str(root).encode())
    for path in inputs:
        digest.update(path.read_bytes())
    return digest.hexdigest()


def is_ready(venv: Path, expected: str) -> bool:
    stamp = venv / STAMP_NAME
    return venv_python(venv).exists() and stamp.exists() and stamp.read_text().strip() == expected


# --- The steps ---

def venv_python(venv: Path) -> Path:
    return venv / 'bin' / 'python'


def venv_works(venv: Path) -> bool:
    """Whether the environment has a Python and a pip that run; an interrupted creation leaves neither."""
    command = [str(venv_python(venv)), '-I', '-m', 'pip', '--version']
    return venv_python(venv).exists() and subprocess.call(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) == 0


def create_venv(venv: Path) -> None:
    if venv.exists():
        if not (venv / 'pyvenv.cfg').exists():
            raise SetupError('{} exists but is not a virtual environment. Remove it or name another place '
                             'with --venv.'.format(venv))
        print('The environment in {} is incomplete: making it anew.'.format(venv), flush=True)
        shutil.rmtree(str(venv))
    result = subprocess.run([sys.executable, '-m', 'venv', str(venv)], stdout=subprocess.PIPE,
                            stderr=subprocess.STDOUT, universal_newlines=True)
    if result.returncode != 0:
        raise SetupError('The virtual environment {} could not be made:\n{}'.format(venv, result.stdout))


def core_count() -> int:
    """Cores this process may use; in a container often fewer than the machine has."""
    if hasattr(os, 'sched_getaffinity'):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def child_environment(compiler: str) -> dict:
    """Variables for pip and the compilation; what the user has set counts."""
    environ = {key: value for key, value in os.environ.items() if key not in ('PYTHONPATH', 'PYTHONHOME')}
    # Without it, pip's lines would arrive in blocks and the progress would stand still for minutes.
    environ.update(PYTHONUNBUFFERED='1', PIP_DISABLE_PIP_VERSION_CHECK='1', PIP_NO_INPUT='1', PIP_USER='0')
    environ.setdefault('MAX_JOBS', str(core_count()))
    if compiler != 'c++':  # which is what torch takes by itself
        environ.setdefault('CXX', compiler)
    return environ


def last_line(text: str) -> str:
    return (text.strip().splitlines() or [''])[-1]


class Installer:
    """The steps inside an existing virtual environment. pip skips what is there in the right version."""

    def __init__(self, venv: Path, environ: dict):
        self.venv, self.environ = venv, environ
        self.python = str(venv_python(venv))

    def pip(self, label: str, *arguments: str, log: str = '') -> None:
        command = [self.python, '-m', 'pip', 'install', '-c', str(CONSTRAINTS)] + list(arguments)
        name = (log or label.replace(' ', '-')) + '.log'
        run_logged(label, command, self.venv / 'logs' / name, self.environ)

    def run_python(self, code: str) -> tuple:
        """Run code in the environment: (last line of its output, error; '' if it went well)."""
        result = subprocess.run([self.python, '-I', '-c', code], env=self.environ, stdout=subprocess.PIPE,
                                stderr=subprocess.PIPE, universal_newlines=True)
        if result.returncode == 0:
            return last_line(result.stdout), ''
        return '', last_line(result.stderr) or 'Python ended with status {}'.format(result.returncode)

    def install_opencv_that_works(self) -> None:
        """Where libGL is missing, as in many containers, put the headless files over opencv-python's."""
        error = self.run_python('import cv2')[1]
        if re.search('libGL|libgthread', error):
            print('This machine has no libGL: opencv-python-headless takes the place of opencv-python.')
            self.pip('opencv headless', '--force-reinstall', '--no-deps', 'opencv-python-headless')
            error = self.run_python('import cv2')[1]
        if error:
            raise SetupError('OpenCV cannot be imported: {}'.format(error))

    def install_torchvision(self) -> None:
        """For mmpretrain. Where it cannot be imported, it must not lie on the path: mmengine tries to.

        That is so where torch is a build for the CPU only and torchvision one for CUDA.
        """
        if not self.run_python('import torchvision')[1]:
            return
        self.pip('torchvision', 'torchvision')
        if self.run_python('import torchvision')[1]:
            print('This torchvision was not built for this torch: keeping it aside, for tests only.')
            self.pip('torchvision aside', '--no-deps', '--upgrade', '--target', str(self.venv / ASIDE), 'torchvision')
            subprocess.check_call([self.python, '-m', 'pip', 'uninstall', '-q', '-y', 'torchvision'], env=self.environ)

    def ops_state(self) -> dict:
        state, error = self.run_python(OPS_PROBE)
        if error:
            raise SetupError('torch or mmcv cannot be imported: {}\nRemove {} and run again.'
                             .format(error, self.venv))
        return json.loads(state)

    def install_mmcv(self) -> None:
        """mmcv with its ops. What pip kept from an earlier build may lack ops or be for another torch."""
        state = self.ops_state()
        has_nvcc = find_nvcc(self.environ)
        if state['gpu'] and not has_nvcc:
            print("A GPU is here but no CUDA compiler (nvcc): mmcv's ops are built for the CPU only.")
            self.environ['CUDA_VISIBLE_DEVICES'] = ''
        wants_cuda = self.environ.get('FORCE_CUDA') == '1' or (state['gpu'] and has_nvcc)
        if not find_ops_problem(state, wants_cuda):
            print('mmcv ops: already there')
            return
        print("mmcv's ops are compiled now, once: 10 to 20 minutes on two cores. pip keeps them, so the "
              'next environment takes seconds.', flush=True)
        # Reinstalling also mends an mmcv whose files are damaged; what it depends on is there already.
        reinstall = ['-v', '--no-build-isolation', '--force-reinstall', '--no-deps', 'mmcv']
        self.pip('mmcv ops', *reinstall)
        problem = find_ops_problem(self.ops_state(), wants_cuda)
        if problem:
            print('mmcv as installed before, or as kept by pip, does not fit ({}): compiling it anew.'
                  .format(problem), flush=True)
            self.pip('mmcv ops', '--no-cache-dir', '--no-binary', 'mmcv', *reinstall, log='mmcv-ops-anew')
            problem = find_ops_problem(self.ops_state(), wants_cuda)
        if problem:
            raise SetupError('mmcv is installed but its ops do not work: {}'.format(problem))

    def install(self) -> None:
        for label, packages in PIP_STEPS:
            self.pip(label, *packages)
        self.install_torchvision()
        self.install_opencv_that_works()
        self.environ['MMCV_WITH_OPS'] = '1'
        self.install_mmcv()
        self.pip('mmrest', '--no-deps', '--no-build-isolation', '-e', str(ROOT))


# Prints what is known of torch and mmcv as JSON; fails only if torch does or Python crashes.
OPS_PROBE = """
import json, torch
state = {'gpu': torch.cuda.is_available(), 'version': '', 'cuda_ops': False, 'error': ''}
try:
    import mmcv, mmcv._ext
    state['version'] = mmcv.__version__
    state['cuda_ops'] = mmcv._ext.get_compiling_cuda_version() != 'not available'
except Exception as error:
    state['error'] = str(error) or type(error).__name__
print(json.dumps(state))
"""


def find_nvcc(environ: dict) -> bool:
    """Whether there is a CUDA compiler where torch looks for one."""
    homes = [environ.get('CUDA_HOME'), environ.get('CUDA_PATH'), '/usr/local/cuda']
    return bool(shutil.which('nvcc')) or any(home and Path(home, 'bin', 'nvcc').exists() for home in homes)


def find_ops_problem(state: dict, wants_cuda: bool) -> str:
    """Why the ops in the environment are not the wanted ones; '' if they are."""
    if state['error']:
        return state['error']
    pinned = re.search(r'^mmcv==(\S+)', CONSTRAINTS.read_text(), re.MULTILINE).group(1)
    if state['version'] != pinned:
        return 'mmcv is {}, not {}'.format(state['version'], pinned)
    if wants_cuda and not state['cuda_ops']:
        return 'they are built for the CPU only'
    return ''


def set_up(venv: Path) -> None:
    expected = fingerprint(ROOT, STAMP_INPUTS)
    if is_ready(venv, expected):
        print('The environment in {} is ready.'.format(venv))
        return
    creating = not venv_works(venv)
    compiler = find_compiler(os.environ)
    facts = python_facts(sys.executable if creating else str(venv_python(venv)))
    problems = find_problems(facts, compiler, creating)
    if problems:
        raise SetupError('\n'.join(problems))
    print('Setting up {} with Python {}.'.format(venv, '.'.join(map(str, facts['version']))), flush=True)
    if creating:
        create_venv(venv)
    stamp = venv / STAMP_NAME
    if stamp.exists():
        stamp.unlink()  # from here on the environment is not what an earlier stamp says
    Installer(venv, child_environment(compiler)).install()
    if subprocess.call([str(venv_python(venv)), str(ROOT / 'mmrest' / 'doctor.py')]) != 0:
        raise SetupError('Everything is installed, but the checks above found a problem.')
    stamp.write_text(expected + '\n')


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, epilog=EPILOG,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument('--venv', default=str(ROOT / '.venv'), help='where to make it (default: %(default)s)')
    try:
        set_up(Path(os.path.abspath(parser.parse_args().venv)))
    except SetupError as error:
        print('\n{}'.format(error), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print('\nInterrupted. Run again to go on from here.', file=sys.stderr)
        return 130
    return 0


if __name__ == '__main__':
    sys.exit(main())
