"""The module that serves as mmcv._ext, for every order of imports and every kind of mmcv."""

from __future__ import annotations

import sys

import pytest
import torch
from helpers.mmcv_folders import USE_OPERATORS, copy_mmcv_lite, run_python

from mmrest.mmcv_ops import extension, finder


@pytest.fixture(scope='module')
def printed(tmp_path_factory) -> dict[str, str]:
    """Output of programs that import an mmcv without compiled operators."""
    programs = {
        'mmcv alone': USE_OPERATORS,
        'mmrest first': f'import mmrest; {USE_OPERATORS}',
        'mmrest alone': 'import sys, mmrest; print(sorted({"mmcv", "torchvision"} & set(sys.modules)))',
    }
    folder = copy_mmcv_lite(tmp_path_factory.mktemp('lite'))
    texts = run_python(folder, *programs.values())
    assert not (folder / 'mmcv' / '_ext.py').exists()
    return dict(zip(programs, texts))


@pytest.mark.matrix
def test_mmcv_lite_with_mmrest_imported_first_has_operators(printed):
    assert "No module named 'mmcv._ext'" in printed['mmcv alone']
    assert printed['mmrest first'].splitlines()[-2:] == ['mmrest', '[0]']


def test_importing_mmrest_imports_neither_mmcv_nor_torchvision(printed):
    assert printed['mmrest alone'].splitlines()[-1] == '[]'


@pytest.mark.parametrize(
    'cuda, gpu, provider',
    [
        ('not available', False, None),
        ('not available', True, 'mmrest+compiled'),
        ('13.0', False, None),
        ('13.0', True, None),
    ],
)
def test_compiled_operators_are_used_where_they_serve_the_device(compiled_mmcv, monkeypatch, cuda, gpu, provider):
    folder = compiled_mmcv(cuda)
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


def test_finder_is_last_unless_mmcv_is_compiled(compiled_mmcv, monkeypatch, tmp_path):
    others = [entry for entry in sys.meta_path if not isinstance(entry, finder.OperatorFinder)]
    for folder, place in ((tmp_path / 'lite', -1), (None, 0)):
        monkeypatch.setattr(sys, 'meta_path', list(others))
        if folder is None:
            compiled_mmcv('13.0')
        else:
            monkeypatch.setattr(finder, 'mmcv_folder', lambda folder=folder: folder)
        finder.add_finder()
        finder.add_finder()
        assert isinstance(sys.meta_path[place], finder.OperatorFinder) and len(sys.meta_path) == len(others) + 1
    assert sys.meta_path[0].find_spec('mmcv.ops') is None
