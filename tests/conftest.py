"""Fixtures of the tests: reference files, a small network, drawn data, and tools run in this process."""

from __future__ import annotations

import importlib.metadata
import importlib.util
import os
import socket
import subprocess
import sys
from collections import OrderedDict
from copy import deepcopy
from functools import lru_cache, partial
from pathlib import Path

import helpers.process  # noqa: F401  (before torch is loaded)
import pytest
import torch
from helpers.ids import pytest_make_parametrize_id  # noqa: F401  (a hook of pytest)
from helpers.skips import VARIABLE, Skips

REPO = Path(__file__).resolve().parents[1]
# Reference values of the published models and small real data sets; not part of the repository.
EXTERNAL = Path(os.environ.get('MMREST_TEST_DATA', REPO.parent / 'shared'))
# Stands for an architecture wherever a test need not run a full-sized one.
TINY = dict(embed_dims=(8, 16, 24, 32), depths=(1, 2, 1, 1), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1))

sys.path.insert(0, str(Path(__file__).parent / 'reference'))


def pytest_configure(config) -> None:
    workers = int(os.environ.get('PYTEST_XDIST_WORKER_COUNT', 1))
    if workers > 1:  # they share the cores, also in the processes that they start: more threads wait for each other
        threads = max(1, (os.cpu_count() or 1) // workers)
        os.environ.setdefault('OMP_NUM_THREADS', str(threads))
        torch.set_num_threads(threads)
    config.pluginmanager.register(Skips(os.environ.get(VARIABLE, '')))


@pytest.fixture(scope='session')
def repo() -> Path:
    return REPO


@pytest.fixture
def tiny() -> dict:
    return dict(TINY)


@pytest.fixture(scope='session')
def external() -> Path:
    """Folder with ``golden/`` and ``data/``; tests that need it are skipped without."""
    if not EXTERNAL.is_dir():
        pytest.skip(f'no reference files: {EXTERNAL} is missing (set MMREST_TEST_DATA)')
    return EXTERNAL


@pytest.fixture(autouse=True)
def seed() -> None:
    torch.manual_seed(0)


@pytest.fixture(autouse=True)
def plain_loading(monkeypatch) -> None:
    """Loading of checkpoints as torch does it: the tools of an earlier test have changed it for this process."""
    for name in ('TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'):
        monkeypatch.delenv(name, raising=False)


def forget_runs(patch: pytest.MonkeyPatch) -> None:
    """Hide what mmengine keeps of earlier runs by name: loggers, message hubs, scopes and visualizers.

    The name of a run is its config and the second in which it starts: the next run of this process can have the same
    one, and would write into the folder of the earlier run.
    """
    if 'mmengine.utils' in sys.modules:
        kinds = [sys.modules['mmengine.utils'].ManagerMixin]
        for kind in kinds:
            kinds += kind.__subclasses__()
            patch.setattr(kind, '_instance_dict', OrderedDict())


@pytest.fixture(autouse=True)
def no_earlier_runs(monkeypatch) -> None:
    """No loggers, message hubs, scopes and visualizers of earlier tests, whose folders may be gone."""
    forget_runs(monkeypatch)


def run_process(command: list, cwd: Path, env: dict | None = None, status: int = 0, timeout: float = 300) -> str:
    """Run a command to its end; what it printed, both streams."""
    result = subprocess.run(
        [str(part) for part in command],
        cwd=cwd,
        env=env,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=timeout,
    )
    assert result.returncode == status, result.stdout[-3000:]
    return result.stdout


def free_port() -> int:
    """Return a port that nothing on this machine listens at, e.g. for processes that train together."""
    with socket.socket() as found:
        found.bind(('127.0.0.1', 0))
        return found.getsockname()[1]


@pytest.fixture(scope='session', autouse=True)
def quick_configs():
    """Spare mmengine what takes longer than most tests.

    It lays out the text of every config that it saves. For every file of a library that a config inherits from, it
    lists all installed distributions anew, and reads the hundred metafiles of the library's zoo.
    """
    if importlib.util.find_spec('mmengine') is None:
        yield
        return
    import mmengine.config.utils
    from mmengine.utils import is_installed

    def as_it_is(text: str, **kwargs) -> tuple[str, bool]:
        return text, True

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr('yapf.yapflib.yapf_api.FormatCode', as_it_is)
        # OpenMMLab's mmengine has a name of its own for it, OneDL's looks it up when it needs it.
        patch.setattr('mmengine.config.config.FormatCode', as_it_is, raising=False)
        patch.setattr(mmengine.config.utils, 'load', lru_cache(mmengine.config.utils.load))
        patch.setattr(mmengine.config.utils, '_get_cfg_metainfo', lru_cache(mmengine.config.utils._get_cfg_metainfo))
        patch.setattr(mmengine.config.config, 'is_installed', lru_cache(is_installed), raising=False)
        yield


def load_safely(patch: pytest.MonkeyPatch) -> None:
    """Have mmengine and torch read checkpoints as they do in the tools, until the patch is undone."""
    from mmengine.runner.checkpoint import CheckpointLoader

    patch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    patch.setenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', '1')


@pytest.fixture
def own_process_state(monkeypatch):
    """Safe loading of mmengine until the end of the test."""
    load_safely(monkeypatch)


@pytest.fixture
def two_threads():
    """Two threads of torch, with which it computes 1x1 convolutions by oneDNN."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def offline_hub(monkeypatch, tmp_path):
    """Settings of huggingface_hub: no network access, and the folder ``cache`` of the test as its cache."""
    from mmrest.checkpoints.hub import download_from_hub

    constants = pytest.importorskip('huggingface_hub.constants')
    monkeypatch.setattr(constants, 'HF_HUB_CACHE', str(tmp_path / 'cache'))
    monkeypatch.setattr(constants, 'HF_HUB_OFFLINE', True)
    download_from_hub.cache_clear()
    yield constants
    download_from_hub.cache_clear()


def is_distributed(name: str) -> bool:
    """Tell whether a distribution is installed, e.g. 'onedl-mmdetection', which the module mmdet may come from."""
    try:
        importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        return False
    return True


def need_torchvision() -> None:
    """Import torchvision; skip the test where it is missing or does not go with torch."""
    try:
        importlib.import_module('torchvision')
    except (ImportError, RuntimeError) as error:
        pytest.skip(f'there is no torchvision for this torch: {error}')


def need_mmpretrain() -> None:
    """Import mmpretrain; skip the test where it, or the torchvision it imports, is missing."""
    need_torchvision()
    pytest.importorskip('mmpretrain')


@pytest.fixture(scope='session')
def shapes(tmp_path_factory) -> Path:
    """A small drawn data set."""
    from mmrest.datasets import draw_shapes

    return draw_shapes(tmp_path_factory.mktemp('shapes') / 'set', num_train=10, num_val=4, size=(64, 64))


# A small detector to look at, with either backbone.
DETECTOR = """
_base_ = '{repo}/configs/retinanet_rest_lite_fpn_shapes.py'
arch = dict(embed_dims=(8, 16, 24, 32), depths=(1, 1, 2, 1), num_heads=(1, 2, 4, 8), sr_ratios=(8, 4, 2, 1))
model = dict(
    backbone=dict(_delete_=True, type='{backbone}', arch=arch, out_indices=(1, 2, 3)),
    neck=dict(in_channels=[16, 24, 32], out_channels=16),
    bbox_head=dict(in_channels=16, feat_channels=16, stacked_convs=1),
    test_cfg=dict(score_thr=0.0, nms_pre=20, max_per_img=5))
"""


@pytest.fixture(scope='session')
def configs(repo, tmp_path_factory):
    """Config files of a detector with either backbone."""
    pytest.importorskip('mmdet')
    pytest.importorskip('mmcv._ext')
    folder = tmp_path_factory.mktemp('configs')
    paths = {}
    for backbone in ('ResT', 'ResTv2'):
        paths[backbone] = folder / f'{backbone.lower()}.py'
        paths[backbone].write_text(DETECTOR.format(repo=repo, backbone=backbone))
    return paths


# A config of each framework.
FRAMEWORKS = dict(
    mmdet='retinanet_rest_lite_fpn_shapes', mmseg='upernet_rest_lite_shapes', mmpretrain='rest_lite_8xb256_in1k'
)


@lru_cache(maxsize=None)
def _read_config(framework: str):
    from mmengine.config import Config

    return Config.fromfile(REPO / f'configs/{FRAMEWORKS[framework]}.py')


@pytest.fixture(params=FRAMEWORKS)
def framework(request) -> str:
    return request.param


@pytest.fixture
def framework_config():
    """A function that returns a framework's config with options merged into it; each is read once."""

    def make(framework: str, options: dict | None = None):
        if framework == 'mmpretrain':
            need_mmpretrain()
        pytest.importorskip(framework)
        cfg = deepcopy(_read_config(framework))
        cfg.merge_from_dict(options or {})
        return cfg

    return make


@pytest.fixture(scope='session')
def checkpoint(configs, tmp_path_factory):
    """Weights of the detector with ResT."""
    from mmrest.apis import init_model

    torch.manual_seed(0)
    path = tmp_path_factory.mktemp('weights') / 'rest.pth'
    torch.save(dict(state_dict=init_model(str(configs['ResT']), 'none').model.state_dict()), path)
    return path


@pytest.fixture(scope='session')
def grad_cam():
    """The package that makes class-activation maps."""
    need_torchvision()
    return pytest.importorskip('pytorch_grad_cam')


def call_tool(patch: pytest.MonkeyPatch, folder: Path, name: str, *args) -> None:
    """Call the ``main`` of a tool in this process, as if it were started in a folder."""
    command = importlib.import_module(f'mmrest.commands.{name}')
    forget_runs(patch)
    patch.chdir(folder)
    patch.setattr(sys, 'argv', [name, *map(str, args)])
    command.main()


@pytest.fixture
def run(monkeypatch, tmp_path):
    """A function that runs a tool in this process, in a directory outside the repository."""
    return partial(call_tool, monkeypatch, tmp_path)
