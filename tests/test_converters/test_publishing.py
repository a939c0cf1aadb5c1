"""Published checkpoints: the weights that are tested, and metadata without anything of the run."""

import copy
import hashlib
import json
import sys
from collections import OrderedDict

import numpy as np
import pytest
import torch
from helpers.compare import assert_equal
from helpers.hostile import RunsCommand
from mmengine.config import Config
from mmengine.hooks import EMAHook
from mmengine.logging import HistoryBuffer
from mmengine.model import BaseModel
from torch import nn

from mmrest.checkpoints import CheckpointError, hash_tensors, load_file
from mmrest.converters import publish
from mmrest.converters.publishing import choose_weights

pytest.importorskip('safetensors')
STAMP = '20260102_030405'


class Network(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.norm = nn.BatchNorm1d(2)

    def forward(self, inputs, data_samples=None, mode='tensor'):
        return self.layer(self.norm(inputs))


def training_checkpoint(**parts):
    torch.manual_seed(0)
    model = Network()
    return {
        'meta': dict(
            epoch=3,
            iter=30,
            seed=7,
            cfg="work_dir = '/home/jane/run'\nmax_epochs = 3\n",
            experiment_name=f'mine_{STAMP}',
            dataset_meta=dict(classes=('disc', 'star'), palette=[(1, 2, 3), (4, 5, 6)], root='/home/jane'),
            time='20260102_040506',
            mmengine_version='0.10.7',
        ),
        'state_dict': model.state_dict(),
        'message_hub': dict(log_scalars=dict(loss=HistoryBuffer([1.0], [1]))),
        'optimizer': dict(state={0: dict(exp_avg=torch.ones(1, 2))}, param_groups=[]),
        'param_schedulers': [dict(last_step=3)],
        **parts,
    }


@pytest.fixture
def source(tmp_path):
    torch.save(training_checkpoint(), tmp_path / 'epoch_3.pth')
    return tmp_path / 'epoch_3.pth'


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_publish_file_has_weights_and_metadata_alone(source, tmp_path, suffix):
    published = publish(str(source), tmp_path / f'a{suffix}')
    loaded = load_file(published.path)
    assert set(loaded) == {'meta', 'state_dict'}
    assert_equal(dict(loaded['state_dict']), dict(training_checkpoint()['state_dict']))
    assert loaded['state_dict']._metadata['norm'] == dict(version=2)
    meta = dict(loaded['meta'])
    meta.pop('format', None)
    assert Config.fromstring(meta.pop('cfg'), '.py').to_dict() == dict(max_epochs=3)
    assert meta == dict(
        source='epoch_3.pth',
        source_sha256=hashlib.sha256(source.read_bytes()).hexdigest(),
        epoch=3,
        iter=30,
        seed=7,
        mmengine_version='0.10.7',
        dataset_meta=dict(classes=['disc', 'star'], palette=[[1, 2, 3], [4, 5, 6]]),
        mmrest_version=meta['mmrest_version'],
        torch_version=torch.__version__,
        tensors_sha256=hash_tensors(training_checkpoint()['state_dict']),
    )
    assert b'jane' not in published.path.read_bytes()
    if suffix == '.pth':
        torch.load(published.path, weights_only=True)
    text = str(published)
    assert 'left out: message_hub, optimizer, param_schedulers' in text and 'classes: disc, star' in text
    assert 'removed from it: work_dir' in text and meta['tensors_sha256'] in text


@pytest.mark.parametrize('suffix', ['.safetensors', '.pth'])
def test_publish_twice_gives_equal_bytes(source, tmp_path, suffix):
    files = [publish(str(source), tmp_path / f'{name}{suffix}').path for name in 'ab']
    assert files[0].read_bytes() == files[1].read_bytes()


def test_publish_published_file_again_changes_the_source_alone(source, tmp_path):
    checkpoint = averaged_checkpoint()[0]
    torch.save(checkpoint, source)
    write_log(tmp_path)
    first = publish(str(source), tmp_path / 'a.safetensors')
    assert first.meta['averaged'] and first.meta['metrics']
    again = publish(str(first.path), tmp_path / 'b.safetensors')
    assert again.meta == dict(again.meta, **{k: v for k, v in first.meta.items() if not k.startswith('source')})
    assert again.meta['source'] == 'a.safetensors' and again.left_out == []


def test_publish_names(source, tmp_path):
    """The default name, and one with the digits that torch.hub checks."""
    assert publish(str(source)).path == tmp_path / 'epoch_3.safetensors'
    named = publish(str(source), tmp_path / 'a.safetensors', with_hash=True).path
    assert named.name == f'a-{hashlib.sha256(named.read_bytes()).hexdigest()[:8]}.safetensors'
    assert torch.hub.HASH_REGEX.search(named.name)[1] == named.stem[-8:]
    assert sorted(each.name for each in tmp_path.iterdir()) == [named.name, 'epoch_3.pth', 'epoch_3.safetensors']


def test_publish_without_safetensors_names_the_other_format(source, tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, 'safetensors', None)
    with pytest.raises(
        CheckpointError, match='pip install safetensors, or write a file of PyTorch: --out epoch_3_published.pth$'
    ):
        publish(str(source))
    assert publish(str(source), tmp_path / 'a.pth').path.is_file()


def test_publish_wrong_target_or_source_is_named(source, tmp_path):
    for out, message in (
        ('a.onnx', 'must end in .safetensors or .pth'),
        ('epoch_3.pth', 'is the file to read itself'),
        ('none/a.pth', 'no such folder'),
    ):
        with pytest.raises(CheckpointError, match=message):
            publish(str(source), tmp_path / out)
    (tmp_path / 'a.safetensors').write_text('precious')
    with pytest.raises(CheckpointError, match='exists already.*--overwrite'):
        publish(str(source), tmp_path / 'a.safetensors')
    torch.save(dict(x=RunsCommand(f'touch {tmp_path}/it_ran')), source)
    with pytest.raises(CheckpointError, match='is refused'):
        publish(str(source), tmp_path / 'a.safetensors', overwrite=True)
    torch.save(dict(meta={}, optimizer={}), source)
    with pytest.raises(CheckpointError, match='holds no state dict'):
        publish(str(source), tmp_path / 'a.safetensors', overwrite=True)
    assert (tmp_path / 'a.safetensors').read_text() == 'precious'
    assert sorted(each.name for each in tmp_path.iterdir()) == ['a.safetensors', 'epoch_3.pth']


def test_publish_bare_state_dict_says_what_is_unknown(tmp_path):
    torch.save(Network().state_dict(), tmp_path / 'bare.pth')
    published = publish(str(tmp_path / 'bare.pth'))
    assert {'cfg', 'dataset_meta', 'metrics', 'averaged'} & set(published.meta) == set()
    for line in ('classes: unknown', 'config: none', 'metrics: none', 'left out: nothing'):
        assert line in str(published)


def test_publish_other_values_of_meta_are_left_out(source, tmp_path):
    """NumPy's numbers and buffers of mmengine, which neither JSON nor torch's safe loading has a place for."""
    checkpoint = training_checkpoint()
    checkpoint['meta'].update(iter=np.int64(30), hook_msgs=dict(a=1), seed=None)
    torch.save(checkpoint, source)
    meta = load_file(publish(str(source)).path)['meta']
    assert {'iter', 'hook_msgs', 'seed'} & set(meta) == set() and meta['epoch'] == 3


def test_publish_config_may_be_left_out_or_come_from_a_file(source, tmp_path, configs):
    assert 'cfg' not in publish(str(source), tmp_path / 'a.pth', with_config=False).meta
    meta = publish(str(source), tmp_path / 'b.pth', config=str(configs['ResT'])).meta
    assert "type='ResT'" in meta['cfg'] and 'work_dir' not in meta['cfg']
    assert meta['dataset_meta']['classes'] == ['disc', 'star'], 'those of the training'
    bare = training_checkpoint()['state_dict']
    torch.save(bare, tmp_path / 'bare.pth')
    meta = publish(str(tmp_path / 'bare.pth'), config=str(configs['ResT'])).meta
    assert meta['dataset_meta']['classes'] == ['disc', 'square', 'triangle', 'star']


def test_publish_names_that_remain_are_pointed_out(source, tmp_path, monkeypatch):
    monkeypatch.setattr('getpass.getuser', lambda: 'joe_doe')
    checkpoint = training_checkpoint()
    checkpoint['meta']['cfg'] = "custom_imports = dict(imports=['joe_doe.models'])\n"
    torch.save(checkpoint, source)
    assert 'PLEASE CHECK: the metadata contain joe_doe. --no-config' in str(publish(str(source)))
    assert 'CHECK' not in str(publish(str(source), tmp_path / 'b.pth', with_config=False))


# --- Averaged weights ---


class RunnerOf:
    """As much of a runner as EMAHook looks at."""

    def __init__(self, model):
        self.model, self._resume, self.epoch, self.iter = model, False, 0, 0


def averaged_checkpoint():
    """Return a checkpoint as mmengine's EMAHook leaves it, the trained weights, and their averages."""
    torch.manual_seed(0)
    runner = RunnerOf(Network())
    hook = EMAHook(momentum=0.5)
    hook.before_run(runner)
    for _ in range(2):
        with torch.no_grad():
            for parameter in runner.model.parameters():
                parameter.add_(1.0)
        hook.after_train_iter(runner, 0)
    trained = copy.deepcopy(runner.model.state_dict())
    averaged = copy.deepcopy(hook.ema_model.module.state_dict())
    checkpoint = training_checkpoint(state_dict=OrderedDict(trained))
    hook.before_save_checkpoint(runner, checkpoint)
    return checkpoint, trained, averaged


@pytest.mark.parametrize('on_average', [None, True, False])
def test_choose_weights_are_those_that_are_tested(on_average):
    """mmengine's hook, or that of mmpretrain with either setting, decides what a test of the checkpoint runs on."""
    checkpoint, trained, averaged = averaged_checkpoint()
    assert not torch.equal(trained['layer.weight'], averaged['layer.weight'])
    if on_average is None:
        hook, settings = EMAHook(), {}
    else:
        from conftest import need_mmpretrain

        need_mmpretrain()
        from mmpretrain.engine.hooks import EMAHook as PretrainHook

        settings = dict(evaluate_on_ema=on_average, evaluate_on_origin=not on_average)
        hook = PretrainHook(**settings)
    runner = RunnerOf(Network())
    hook.before_run(runner)
    loaded = copy.deepcopy(checkpoint)
    hook.after_load_checkpoint(runner, loaded)
    runner.model.load_state_dict(loaded['state_dict'])
    hook.before_test_epoch(runner)

    hooks = [dict(type='EMAHook', **settings)]
    chosen, text, is_averaged = choose_weights(checkpoint, dict(custom_hooks=hooks), 'x.pth')
    assert_equal(dict(chosen), dict(runner.model.state_dict()))
    assert_equal(dict(chosen), dict(trained if on_average is False else averaged))
    assert is_averaged is (on_average is not False) and ('not averaged' in text) == (on_average is False)


def test_publish_averaged_weights_are_said_to_be(source, tmp_path):
    checkpoint, _, averaged = averaged_checkpoint()
    torch.save(checkpoint, source)
    published = publish(str(source))
    loaded = load_file(published.path)
    assert_equal(dict(loaded['state_dict']), dict(averaged))
    assert loaded['meta']['averaged'] is True and 'weights: averaged by EMAHook' in str(published)
    assert 'ema_state_dict' in published.left_out


def test_publish_other_containers_are_left_out(tmp_path):
    weights = training_checkpoint()['state_dict']
    torch.save(dict(model=weights, model_ema={k: v + 1 for k, v in weights.items()}, args=1), tmp_path / 'a.pth')
    published = publish(str(tmp_path / 'a.pth'))
    assert_equal(dict(published.state_dict), dict(weights))
    assert published.left_out == ['model_ema', 'args']


# --- Metrics ---

RECORDS = [
    dict(lr=0.1, loss=0.5, epoch=1, iter=3, step=3),
    {'coco/bbox_mAP': 0.1, 'time': 1.0, 'data_time': 0.5, 'step': 2},
    {'coco/bbox_mAP': 0.25, 'coco/nan': float('nan'), 'time': 1.0, 'data_time': 0.5, 'step': 3},
    {'mIoU': 40.0, 'top1_origin': 30.0, 'step': 30},
]


def write_log(folder, stamp=STAMP):
    log = folder / stamp / 'vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text('\n'.join(map(json.dumps, RECORDS)) + '\n{"coco/bbox_mAP": 0.9, "st')


@pytest.mark.parametrize(
    'stamp, by_epoch, expected',
    [
        (STAMP, True, ('metrics of epoch 3: coco/bbox_mAP 0.25', {'coco/bbox_mAP': 0.25})),
        (STAMP, False, ('metrics of iteration 30: mIoU 40, ', {'mIoU': 40.0, 'top1_origin': 30.0})),
        ('20260102_030406', True, ('metrics: none', None)),
    ],
)
def test_publish_metrics_are_those_of_the_same_run_and_step(source, tmp_path, stamp, by_epoch, expected):
    checkpoint = training_checkpoint()
    checkpoint['meta']['cfg'] = f'default_hooks = dict(logger=dict(log_metric_by_epoch={by_epoch}))\n'
    torch.save(checkpoint, source)
    write_log(tmp_path, stamp)
    published = publish(str(source))
    assert expected[0] in str(published) and published.meta.get('metrics') == expected[1]


def test_publish_validation_that_found_nothing_is_said(source, tmp_path):
    torch.save(training_checkpoint(), source)
    log = tmp_path / STAMP / 'vis_data/scalars.json'
    log.parent.mkdir(parents=True)
    log.write_text('{"time": 1.0, "data_time": 0.5, "step": 3}\n')
    published = publish(str(source))
    assert 'metrics: none, as the model found nothing in the validation of epoch 3' in str(published)


def test_publish_metrics_of_other_weights_are_left_out(source, tmp_path):
    checkpoint = averaged_checkpoint()[0]
    checkpoint['meta']['cfg'] = 'default_hooks = dict(logger=dict(log_metric_by_epoch=False))\n'
    torch.save(checkpoint, source)
    write_log(tmp_path)
    assert publish(str(source)).meta['metrics'] == dict(mIoU=40.0)
