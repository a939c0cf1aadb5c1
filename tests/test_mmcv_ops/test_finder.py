"""Which module is mmcv._ext: whatever is imported first, and with every kind of mmcv that may be installed."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from importlib.machinery import EXTENSION_SUFFIXES
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType

import pytest
import torch

from mmrest.mmcv_ops import extension, files, finder
from mmrest.mmcv_ops.__main__ import main

# Prints where the operators come from, and uses one.
LOOK = (
    'import mmcv._ext; print(getattr(mmcv._ext, "PROVIDER", "compiled")); from mmcv.ops import nms; import torch; '
    'print(nms(torch.tensor([[0., 0., 2., 2.]]), torch.ones(1), 0.5)[1].tolist())'
)


@pytest.fixture
def lite(tmp_path) -> Path:
    """A folder with an mmcv without compiled operators in it."""
    pytest.importorskip('mmcv')
    pytest.importorskip('torchvision')
    source = Path(find_spec('mmcv').submodule_search_locations[0])
    shutil.copytree(source, tmp_path / 'mmcv', ignore=shutil.ignore_patterns('csrc', '_ext*', '__pycache__'))
    return tmp_path


def python(folder: Path, code: str) -> str:
    path = os.pathsep.join([str(folder), str(Path(__file__).resolve().parents[2])])
    return subprocess.run(
        [sys.executable, '-c', code],
        text=True,
        env=dict(os.environ, PYTHONPATH=path),
        cwd=folder,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    ).stdout


@pytest.mark.matrix
def test_importing_mmrest_first_is_enough(lite):
    assert "No module named 'mmcv._ext'" in python(lite, LOOK)
    assert python(lite, f'import mmrest; {LOOK}').splitlines()[-2:] == ['mmrest', '[0]']
    assert not (lite / 'mmcv' / '_ext.py').exists()


def test_the_file_makes_any_order_work_until_it_is_removed(lite, monkeypatch, capsys):
    monkeypatch.setattr(files, 'mmcv_folder', lambda: lite / 'mmcv')
    for option, said in (
        ('--status', 'compiled:  no'),
        ('--install', 'Written'),
        ('--install', 'Already installed'),
        ('--status', '_ext.py'),
    ):
        main([option])
        assert said in capsys.readouterr().out
    assert python(lite, LOOK).splitlines()[-2:] == ['mmrest', '[0]']
    for said in ('Removed', 'Nothing to do'):
        main(['--remove'])
        assert said in capsys.readouterr().out
    assert not (lite / 'mmcv' / '_ext.py').exists()


def test_importing_mmrest_imports_none_of_them():
    printed = python(Path.cwd(), 'import sys, mmrest; print(sorted({"mmcv", "torchvision"} & set(sys.modules)))')
    assert printed.splitlines()[-1] == '[]'


class FakeCompiled(ModuleType):
    """As compiled mmcv, for CUDA or for the CPU only."""

    def __init__(self, cuda: str):
        super().__init__('mmcv._ext')
        self.get_compiling_cuda_version = lambda: cuda
        self.nms = lambda boxes, scores, **kwargs: 'compiled'


@pytest.fixture
def compiled(tmp_path, monkeypatch):
    """A folder of an mmcv that was compiled for 'CPU only' or for a version of CUDA."""

    def make(cuda: str) -> Path:
        (tmp_path / f'_ext{EXTENSION_SUFFIXES[0]}').touch()
        monkeypatch.setattr(finder, 'load_compiled', lambda path: FakeCompiled(cuda))
        monkeypatch.setattr(files, 'load_compiled', lambda path: FakeCompiled(cuda))
        monkeypatch.setattr(finder, 'mmcv_folder', lambda: tmp_path)
        monkeypatch.setattr(files, 'mmcv_folder', lambda: tmp_path)
        return tmp_path

    return make


@pytest.mark.parametrize(
    'cuda, gpu, provider',
    [
        ('not available', False, None),
        ('not available', True, 'mmrest+compiled'),
        ('13.0', False, None),
        ('13.0', True, None),
    ],
)
def test_compiled_operators_are_used_where_they_serve_the_device(compiled, monkeypatch, cuda, gpu, provider):
    folder = compiled(cuda)
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    module = finder.provide(folder)
    assert getattr(module, 'PROVIDER', None) == provider
    boxes = torch.zeros(1, 4), torch.zeros(1)
    assert module.nms(*boxes, iou_threshold=0.5, offset=0) == 'compiled'
    assert module.get_compiling_cuda_version() == cuda
    if provider:  # a device that no compiled operator for CPUs serves
        monkeypatch.setattr(extension, 'nms', lambda *args, **kwargs: 'ours')
        assert module.nms(*(tensor.to('meta') for tensor in boxes), iou_threshold=0.5, offset=0) == 'ours'
        assert not hasattr(module, 'no_such_operator')
    assert finder.provide(folder / 'without') is extension


def test_the_finder_is_last_unless_mmcv_is_compiled(compiled, monkeypatch, tmp_path):
    others = [entry for entry in sys.meta_path if not isinstance(entry, finder.OperatorFinder)]
    for folder, place in ((tmp_path / 'lite', -1), (None, 0)):
        monkeypatch.setattr(sys, 'meta_path', list(others))
        if folder is None:
            compiled('13.0')
        else:
            monkeypatch.setattr(finder, 'mmcv_folder', lambda folder=folder: folder)
        finder.add_finder()
        finder.add_finder()
        assert isinstance(sys.meta_path[place], finder.OperatorFinder) and len(sys.meta_path) == len(others) + 1
    assert sys.meta_path[0].find_spec('mmcv.ops') is None


@pytest.mark.parametrize(
    'cuda, build, said',
    [('13.0', '13.0', 'Nothing to do'), ('not available', None, 'Nothing to do'), ('not available', '13.0', 'Written')],
)
def test_a_file_beside_compiled_operators(compiled, monkeypatch, capsys, cuda, build, said):
    """It has to come before them, and only where torch can use a GPU that they do not serve."""
    folder = compiled(cuda)
    before = set(folder.rglob('*'))
    monkeypatch.setattr(torch.version, 'cuda', build)
    main(['--install'])
    assert said in capsys.readouterr().out
    if said == 'Written':
        assert (folder / '_ext' / '__init__.py').read_text() == files.LINE
        main(['--remove'])
    assert set(folder.rglob('*')) == before


def test_another_file_of_that_name_is_left_alone(tmp_path, monkeypatch, capsys):
    monkeypatch.setattr(files, 'mmcv_folder', lambda: tmp_path)
    (tmp_path / '_ext.py').write_text('mine = True\n')
    with pytest.raises(SystemExit) as status:
        main(['--install'])
    assert status.value.code == 2 and 'not from mmrest' in capsys.readouterr().err
    main(['--remove'])
    assert (tmp_path / '_ext.py').read_text() == 'mine = True\n'
    monkeypatch.setattr(files, 'mmcv_folder', lambda: None)
    with pytest.raises(SystemExit):
        main(['--status'])
    assert 'mmcv is not installed' in capsys.readouterr().err
