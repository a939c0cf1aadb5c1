"""`make install` from the first step to the doctor's report, on a machine with a GPU and no compiler.

Packages come from a fake uv, which writes made-up ones.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]

TORCH = """
class cuda:
    is_available = staticmethod(lambda: True)
    device_count = staticmethod(lambda: 1)
    get_device_capability = staticmethod(lambda i: (9, 0))
    get_device_name = staticmethod(lambda i: 'NVIDIA H200')
    get_arch_list = staticmethod(lambda: ['sm_80', 'sm_90'])
class version:
    cuda = '13.0'
"""
FRAMEWORK = 'import mmcv._ext\n'  # as the operators that their models import
PACKAGES = {
    'pkg_resources.py': '',
    'numpy.py': '',
    'cv2.py': '',
    'matplotlib.py': '',
    'torch.py': TORCH,
    'torchvision.py': '',
    'mmengine/__init__.py': '',
    'mmengine/registry.py': "class MODELS:\n    module_dict = {'ResT': None}\n",
    'mmcv/__init__.py': '',
    'pycocotools/__init__.py': '',
    'pycocotools/mask.py': '',
    'ftfy.py': '',
    'regex.py': '',
    **{
        f'{name}/{file}.py': text
        for name in ('mmdet', 'mmseg', 'mmpretrain')
        for file, text in (('__init__', ''), ('models', FRAMEWORK))
    },
}
EXTENSION = "PROVIDER = 'mmrest'\nget_compiling_cuda_version = lambda: 'not available'\n"
MMREST = {
    'mmrest/__init__.py': '',
    'mmrest/mmcv_ops/__init__.py': '',
    'mmrest/mmcv_ops/__main__.py': (
        'import mmcv, pathlib, sys\n'
        "assert sys.argv[1:] == ['--install']\n"
        f"pathlib.Path(mmcv.__file__).with_name('_ext.py').write_text({EXTENSION!r})\n"
    ),
}
VERSIONS = {
    'torch': '2.14.1',
    'torchvision': '0.29.1',
    'mmengine': '0.10.7',
    'mmcv-lite': '2.1.0',
    'mmdet': '3.3.0',
    'mmsegmentation': '1.2.2',
    'mmpretrain': '1.2.0',
}
UV = """#!{python}
import json, os, pathlib, shutil, subprocess, sys
here, words = pathlib.Path(__file__).parent, sys.argv[1:]
with open(here / 'calls', 'a') as file:
    file.write(json.dumps(words) + '\\n')
if words[0] == 'venv':
    sys.exit(subprocess.call([{python!r}, '-m', 'venv', '--without-pip', words[-1]]))
site, = pathlib.Path(words[words.index('--python') + 1]).parents[1].glob('lib/*/site-packages')
if words[1] == 'uninstall':
    shutil.rmtree(site / 'mmcv-2.1.0.dist-info')
elif 'torch' in words and (here / 'offline').exists():
    sys.exit('error: Failed to fetch: `https://mirror.example/torch/`')
elif 'torch' in words or '-e' in words:
    for name, text in json.loads((here / ('mmrest' if '-e' in words else 'packages')).read_text()).items():
        (site / name).parent.mkdir(parents=True, exist_ok=True)
        (site / name).write_text(text)
"""

METADATA = 'Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n'


class Machine:
    """A folder with a fake uv and the environment that is made with it."""

    def __init__(self, folder: Path):
        self.bin, self.venv = folder / 'bin', folder / 'env'
        self.bin.mkdir()
        metadata = {
            f'{name.replace("-", "_")}-{version}.dist-info/METADATA': METADATA.format(name=name, version=version)
            for name, version in VERSIONS.items()
        }
        (self.bin / 'packages').write_text(json.dumps({**PACKAGES, **metadata}))
        (self.bin / 'mmrest').write_text(json.dumps(MMREST))
        (self.bin / 'uv').write_text(UV.format(python=sys.executable))
        (self.bin / 'uv').chmod(0o755)

    def install(self, status: int = 0) -> str:
        """Run what `make install` runs, and return what it printed."""
        # Nothing else is on PATH, neither a compiler nor nvcc, and pip has no settings.
        environ = {'PATH': str(self.bin), 'HOME': str(self.bin), 'PIP_CONFIG_FILE': os.devnull}
        result = subprocess.run(
            [sys.executable, ROOT / 'tools/setup_env.py', '--venv', self.venv],
            env=environ,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        assert result.returncode == status, result.stdout
        return result.stdout

    def calls(self) -> list[list[str]]:
        """Return the words that uv was called with."""
        return [json.loads(line) for line in (self.bin / 'calls').read_text().splitlines()]


@pytest.fixture
def machine(tmp_path) -> Machine:
    return Machine(tmp_path)


def test_make_install_with_gpu_and_no_compiler_is_healthy_and_not_repeated(machine):
    printed = machine.install()
    assert 'NVIDIA H200; torch is built for CUDA 13.0' in printed and 'by mmrest and torchvision' in printed
    assert 'FAIL' not in printed and printed.endswith('The environment is fine.\n')
    assert [words[:2] for words in machine.calls()] == [['venv', '--no-project']] + [['pip', 'install']] * 3
    together = machine.calls()[2]
    assert {'torch', 'torchvision', 'mmcv-lite', str(ROOT / 'constraints.txt')} <= set(together)
    count = len(machine.calls())
    assert machine.install() == f'The environment in {machine.venv} is ready.\n'
    assert len(machine.calls()) == count


def test_make_install_over_compiled_mmcv_removes_it_first(machine):
    """mmcv is uninstalled before mmcv-lite is installed, since both share their files."""
    subprocess.check_call([sys.executable, '-m', 'venv', '--without-pip', machine.venv])
    (site,) = machine.venv.glob('lib/*/site-packages')
    (site / 'mmcv-2.1.0.dist-info').mkdir()
    (site / 'mmcv-2.1.0.dist-info/METADATA').write_text('Metadata-Version: 2.1\nName: mmcv\nVersion: 2.1.0\n')
    (machine.venv / 'torchvision-aside').mkdir()
    (machine.venv / '.mmrest-ready').write_text('by an earlier version')
    assert machine.install().endswith('The environment is fine.\n')
    verb, *words = machine.calls()[0][1:]
    assert verb == 'uninstall' and words[-1:] == ['mmcv']
    assert not (machine.venv / 'torchvision-aside').exists()


def test_make_install_after_failure_goes_on(machine):
    (machine.bin / 'offline').touch()
    printed = machine.install(status=1)
    assert 'packages: failed' in printed and 'Failed to fetch' in printed and 'Check the network' in printed
    assert not (machine.venv / '.mmrest-ready').exists()
    (machine.bin / 'offline').unlink()
    assert machine.install().endswith('The environment is fine.\n')
    assert sum(words[0] == 'venv' for words in machine.calls()) == 1
