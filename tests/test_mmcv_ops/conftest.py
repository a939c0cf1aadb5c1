"""Installations of mmcv: as it is here with the operators of mmrest, without operators, and compiled."""

from __future__ import annotations

import importlib
from importlib.machinery import EXTENSION_SUFFIXES
from pathlib import Path
from types import ModuleType

import pytest
from helpers.mmcv_folders import copy_mmcv_lite

from mmrest.mmcv_ops import extension, files, finder

WRAPPERS = (
    'nms',
    'bbox',
    'roi_align',
    'roi_pool',
    'focal_loss',
    'deform_conv',
    'modulated_deform_conv',
    'multi_scale_deform_attn',
    'masked_conv',
    'carafe',
    'psa_mask',
    'border_align',
)


@pytest.fixture
def stand_in(monkeypatch):
    """``mmcv.ops``, calling the operators of mmrest whatever it calls in this environment."""
    pytest.importorskip('torchvision')
    ops = pytest.importorskip('mmcv.ops')
    for name in WRAPPERS:
        monkeypatch.setattr(importlib.import_module(f'mmcv.ops.{name}'), 'ext_module', extension)
    return ops


@pytest.fixture
def mmcv_lite(tmp_path) -> Path:
    """A folder with an mmcv without compiled operators in it."""
    return copy_mmcv_lite(tmp_path)


class FakeCompiled(ModuleType):
    """Compiled operators of mmcv, for a version of CUDA or for the CPU only ('not available')."""

    def __init__(self, cuda: str):
        super().__init__('mmcv._ext')
        self.get_compiling_cuda_version = lambda: cuda
        self.nms = lambda boxes, scores, **kwargs: 'compiled'


@pytest.fixture
def compiled_mmcv(tmp_path, monkeypatch):
    """A function that makes the folder of an mmcv compiled for a version of CUDA, or for 'not available'."""

    def make(cuda: str) -> Path:
        (tmp_path / f'_ext{EXTENSION_SUFFIXES[0]}').touch()
        for module in (finder, files):
            monkeypatch.setattr(module, 'load_compiled', lambda path: FakeCompiled(cuda))
            monkeypatch.setattr(module, 'mmcv_folder', lambda: tmp_path)
        return tmp_path

    return make
