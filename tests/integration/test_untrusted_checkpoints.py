"""Hostile checkpoints are refused by every tool and loader that reads one."""

import os
import re
import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread

import numpy as np
import pytest
import torch
from conftest import REPO, TINY, run_process
from helpers.compare import assert_equal
from helpers.hostile import RunsCommand
from mmengine.fileio import LocalBackend, register_backend
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from mmengine.runner import Runner, load_checkpoint
from mmengine.runner.checkpoint import CheckpointLoader
from torch.utils.data import DataLoader

from mmrest import ResT
from mmrest.checkpoints import CheckpointError, load_file

pytestmark = pytest.mark.matrix


@pytest.fixture(autouse=True)
def own_process_state(monkeypatch):
    """Nothing but ``import mmrest`` before a test, and nothing of it left behind: tools change the whole process."""
    monkeypatch.setattr(CheckpointLoader, '_schemes', dict(CheckpointLoader._schemes))
    for name in ('TORCH_FORCE_WEIGHTS_ONLY_LOAD', 'TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'):
        monkeypatch.setenv(name, '0')


@pytest.fixture
def witness(tmp_path):
    """A file that is there once code from a checkpoint has run."""
    path = tmp_path / 'it_ran'
    yield path
    assert not path.exists(), 'code from the checkpoint was run'


def hostile(path, witness, **parts):
    torch.save(
        {
            'meta': dict(epoch=0, iter=0, seed=3),
            'state_dict': {'a': torch.rand(3)},
            'message_hub': {},
            'optimizer': {},
            'x': RunsCommand(f'touch {witness}'),
            **parts,
        },
        path,
    )
    return path


# --- Tools ---


def train(run, config, file, folder, *options):
    run('train', config, '--work-dir', folder / 'run', *options)


TOOLS = {
    'load_from': lambda run, config, file, folder: train(
        run, config, file, folder, '--cfg-options', f'load_from={file}'
    ),
    'resume': lambda run, config, file, folder: train(run, config, file, folder, '--resume', file),
    'Pretrained': lambda run, config, file, folder: train(
        run,
        config,
        file,
        folder,
        '--cfg-options',
        'model.backbone.init_cfg.type=Pretrained',
        f'model.backbone.init_cfg.checkpoint={file}',
    ),
    'test': lambda run, config, file, folder: run('test', config, file, '--work-dir', folder / 'run'),
    'convert': lambda run, config, file, folder: run('convert_checkpoint', file, folder / 'converted.pth'),
    'publish': lambda run, config, file, folder: run('publish', file, '--out', folder / 'published.safetensors'),
    'demo': lambda run, config, file, folder: run('demo', folder, config, file),
    'export': lambda run, config, file, folder: run(
        'export_onnx', config, '--checkpoint', file, '--out', folder / 'model.onnx'
    ),
}


REFUSALS = {
    'hostile.pth': r'is refused: loading it would run code.*system',
    'hostile.safetensors': r'is not a safetensors file, but one of PyTorch',
}


@pytest.mark.parametrize('name', REFUSALS)
@pytest.mark.parametrize('tool', TOOLS)
def test_tool_hostile_checkpoint_is_refused(tool, name, run, configs, checkpoint, shapes, witness, tmp_path, capsys):
    state_dict = torch.load(checkpoint, weights_only=True)['state_dict']
    file = hostile(tmp_path / name, witness, state_dict=state_dict)
    config = tmp_path / 'config.py'
    config.write_text(
        f"_base_ = '{configs['ResT']}'\ndata = dict(dataset=dict(data_root='{shapes}/'))\n"
        'train_dataloader = val_dataloader = test_dataloader = data\n'
        f"val_evaluator = test_evaluator = dict(ann_file='{shapes}/annotations/instances_val.json')\n"
    )
    with pytest.raises(SystemExit) as stopped:
        TOOLS[tool](run, config, file, tmp_path)
    assert stopped.value.code == 2 and re.search(REFUSALS[name], capsys.readouterr().err)


# --- Other programs, which import mmrest as custom_imports does ---


class Model(BaseModel):
    def __init__(self):
        super().__init__()
        self.a = torch.nn.Parameter(torch.zeros(3))

    def forward(self, inputs, data_samples=None, mode='loss'):
        return dict(loss=self.a.sum())


def runner(folder):
    return Runner(
        Model(),
        str(folder),
        DataLoader([0]),
        train_cfg=dict(by_epoch=True, max_epochs=1),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=1)),
        experiment_name=f'doors_{folder.name}',
    )


OTHERS = {
    'load_checkpoint': lambda file, folder: load_checkpoint(Model(), str(file)),
    'Runner.load_checkpoint': lambda file, folder: runner(folder).load_checkpoint(str(file)),
    'Runner.resume': lambda file, folder: runner(folder).resume(str(file)),
    'Pretrained': lambda file, folder: ResT(
        TINY, init_cfg=dict(type='Pretrained', checkpoint=str(file))
    ).init_weights(),
}


@pytest.mark.parametrize('door', OTHERS)
def test_mmengine_loader_hostile_checkpoint_is_refused(door, witness, tmp_path):
    with pytest.raises(CheckpointError, match='would run code.*system'):
        OTHERS[door](hostile(tmp_path / 'hostile.pth', witness), tmp_path)


def test_import_mmrest_makes_load_checkpoint_safe(witness, tmp_path):
    hostile(tmp_path / 'hostile.pth', witness)
    program = """import mmrest, torch
from mmengine.runner import load_checkpoint
try:
    load_checkpoint(torch.nn.Linear(1, 1), 'hostile.pth')
except mmrest.checkpoints.CheckpointError as error:
    print(error)
"""
    env = {name: value for name, value in os.environ.items() if not name.startswith('TORCH_FORCE_')}
    path = os.pathsep.join(filter(None, [str(REPO), env.get('PYTHONPATH')]))
    printed = run_process([sys.executable, '-c', program], tmp_path, {**env, 'PYTHONPATH': path})
    assert 'hostile.pth is refused: loading it would run code' in printed


def test_init_detector_hostile_checkpoint_is_refused(witness, configs, tmp_path):
    from mmdet.apis import init_detector

    with pytest.raises(CheckpointError, match='would run code.*system'):
        init_detector(str(configs['ResT']), str(hostile(tmp_path / 'hostile.pth', witness)), device='cpu')


def test_load_checkpoint_hostile_download_is_refused(witness, tmp_path, monkeypatch):
    monkeypatch.setenv('TORCH_HOME', str(tmp_path / 'cache'))
    monkeypatch.setenv('TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD', '1')
    hostile(tmp_path / 'hostile.pth', witness)
    torch.save({'loss': HistoryBuffer([1.0], [1]), 'best': np.float64(0.5)}, tmp_path / 'good.pth')
    handler = partial(SimpleHTTPRequestHandler, directory=str(tmp_path))
    with ThreadingHTTPServer(('127.0.0.1', 0), handler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f'http://127.0.0.1:{server.server_port}'
        loaded = CheckpointLoader.load_checkpoint(f'{url}/good.pth')
        assert loaded['best'] == 0.5 and loaded['loss'].current() == 1
        with pytest.raises(CheckpointError, match='would run code'):
            CheckpointLoader.load_checkpoint(f'{url}/hostile.pth')
        server.shutdown()
    assert os.environ['TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD'] == '1', 'the process is as it was'
    assert os.environ['TORCH_FORCE_WEIGHTS_ONLY_LOAD'] == '0'


def test_load_checkpoint_hostile_file_in_storage_is_refused(witness, tmp_path, monkeypatch):
    """Files in them are read by mmengine's client, and then as any other."""

    class Disk(LocalBackend):
        def get_local_path(self, filepath):
            return super().get_local_path(str(tmp_path / filepath.split('://')[1]))

    from mmengine.fileio.backends.registry_utils import backends

    monkeypatch.setitem(backends, 'petrel', backends['local'])
    register_backend('petrel', Disk, force=True)
    hostile(tmp_path / 'hostile.pth', witness)
    torch.save({'best': np.float64(0.5)}, tmp_path / 'good.pth')
    assert CheckpointLoader.load_checkpoint('s3://good.pth')['best'] == 0.5
    with pytest.raises(CheckpointError, match='would run code.*system'):
        CheckpointLoader.load_checkpoint('cluster:s3://hostile.pth')


def test_resume_config_text_in_checkpoint_is_not_run(witness, tmp_path):
    torch.save(
        {
            'meta': dict(epoch=0, iter=0, seed=3, config=f"open('{witness}', 'w').close()\n"),
            'state_dict': {'a': torch.ones(3)},
            'message_hub': dict(log_scalars={}, runtime_info={}, resumed_keys={}),
        },
        tmp_path / 'state.pth',
    )
    resumed = runner(tmp_path)
    resumed.resume(str(tmp_path / 'state.pth'), resume_optimizer=False)
    assert_equal(resumed.model.a.data, torch.ones(3))


def test_load_file_training_state_is_read_beside_allowed_originals(tmp_path):
    """mmengine's histories and NumPy's numbers, also where other libraries allow the originals by the same names."""
    content = dict(
        state_dict=dict(a=torch.ones(3)), loss=HistoryBuffer([1.0, 2.5], [1, 1]), best=np.float64(0.5), ids=np.arange(4)
    )
    torch.save(content, tmp_path / 'file.pth')
    before = set(torch.serialization.get_safe_globals())
    core = np.core if np.__version__.startswith('1.') else np._core
    originals = [
        getattr,
        np.dtype,
        np.ndarray,
        type(np.dtype('f8')),
        type(np.dtype('i8')),
        HistoryBuffer,
        core.multiarray.scalar,
        core.multiarray._reconstruct,
    ]
    torch.serialization.add_safe_globals(originals)
    try:
        allowed = set(torch.serialization.get_safe_globals())
        for loaded in (load_file(tmp_path / 'file.pth'), CheckpointLoader.load_checkpoint(str(tmp_path / 'file.pth'))):
            assert type(loaded['loss']) is HistoryBuffer and loaded['loss'].mean() == 1.75
            assert loaded['best'] == 0.5 and loaded['ids'].tolist() == [0, 1, 2, 3]
        assert set(torch.serialization.get_safe_globals()) == allowed, 'the list is as it was'
    finally:
        torch.serialization.clear_safe_globals()
        torch.serialization.add_safe_globals(list(before))
