"""A loss that is not finite stops the run before it is in the weights, and says where it came from."""

import errno
import json
import os
import pickle
import re
import subprocess
import sys
from copy import deepcopy
from pathlib import Path

import pytest
import torch
from helpers.compare import assert_equal
from mmengine.hooks import Hook

from mmrest.engine import exit_on_user_error
from mmrest.engine.hooks import InvalidLossError, keep_mmcv_in_float32
from mmrest.engine.seeding import set_random_state
from mmrest.utils import fileio

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmcv._ext')

from helpers.small_runs import build, write_config  # noqa: E402

pytestmark = pytest.mark.usefixtures('own_process_state')


class InvalidLossAt(Hook):
    """Makes a loss NaN at a step, and keeps the state from before it."""

    def __init__(self, step: int, value: float = float('nan')) -> None:
        self.step, self.value, self.now = step, value, 0

    def before_train(self, runner) -> None:
        head = runner.model.bbox_head if hasattr(runner.model, 'bbox_head') else runner.model.decode_head
        compute = head.loss

        def loss(*args, **kwargs):
            losses = compute(*args, **kwargs)
            name = next(key for key in losses if 'loss_bbox' in key or 'loss_ce' in key)
            if self.now == self.step:
                good = losses[name]
                losses[name] = [good[0] + self.value, *good[1:]] if isinstance(good, list) else good + self.value
            return losses

        head.loss = loss

    def before_train_iter(self, runner, batch_idx, data_batch=None) -> None:
        self.now = runner.iter + 1
        if self.now == self.step:
            self.weights = deepcopy(runner.model.state_dict())
            self.optimizer = deepcopy(runner.optim_wrapper.state_dict())
            self.paths = [sample.img_path for sample in data_batch['data_samples']]
            self.inputs = [image.clone() for image in data_batch['inputs']]


def add_invalid_loss(runner, step=7, value=float('nan')):
    hook = InvalidLossAt(step, value)
    runner.register_hook(hook)
    return hook


def buffers(state):
    return {key for key in state if 'running_' in key or 'num_batches' in key}


@pytest.mark.parametrize(
    'kind, value', [('epochs', float('nan')), pytest.param('iterations', float('inf'), marks=pytest.mark.reliability)]
)
def test_training_invalid_loss_stops_before_the_step(repo, shapes, tmp_path, capsys, tally, kind, value):
    runner = build(write_config(tmp_path, kind, repo, shapes), tmp_path / 'run')
    hook = add_invalid_loss(runner, value=value)
    with pytest.raises(SystemExit), exit_on_user_error():
        runner.train()
    message = capsys.readouterr().err[-3000:].partition('error: ')[2]
    name = 'loss_bbox' if kind == 'epochs' else r'decode\.loss_ce'
    # In the second epoch of five steps, or in the only one of a loop that counts iterations.
    assert re.match(
        rf'The loss is not finite at iteration 7 \(epoch {2 if kind == "epochs" else 1}\): '
        rf'loss = {value}, {name} = {value}\.',
        message,
    ), message
    assert [path for path in hook.paths if f'\n  {path}\n' not in message] == [] and 'Traceback' not in message

    saved = torch.load(tmp_path / 'run/invalid_loss_iter_7.pth', weights_only=True)
    changed = buffers(hook.weights)  # running means, which the forward pass has moved on
    for state in (saved['state_dict'], runner.model.state_dict()):
        assert state.keys() == hook.weights.keys()
        kept = hook.weights.keys() - changed
        assert_equal({key: state[key] for key in kept}, {key: hook.weights[key] for key in kept})
    moments = saved['optimizer']['state'][0]
    assert_equal(moments['exp_avg'], hook.optimizer['state'][0]['exp_avg'])
    assert moments['step'] == 6
    facts = json.loads((tmp_path / 'run/invalid_loss_iter_7.json').read_text())
    assert (facts['iteration'], facts['images'], facts['rank']) == (7, hook.paths, 0)
    assert facts['losses']['loss'] == str(value) and len(facts['seeds']) == 2

    # The batch as it was, from its images and seeds.
    dataset = runner.train_dataloader.dataset
    indices = {dataset.get_data_info(index)['img_path']: index for index in range(len(dataset))}
    for path, seed, image in zip(facts['images'], facts['seeds'], hook.inputs):
        set_random_state(seed)
        assert_equal(dataset[indices[path]]['inputs'], image)
    tally('losses that were not finite')


@pytest.mark.reliability
def test_resume_from_invalid_loss_repeats_the_step(repo, shapes, tmp_path, capsys):
    config = write_config(tmp_path, 'iterations', repo, shapes)
    runner = build(config, tmp_path / 'run')
    first = add_invalid_loss(runner, 4)
    with pytest.raises(InvalidLossError):
        runner.train()
    runner = build(config, tmp_path / 'again', str(tmp_path / 'run/invalid_loss_iter_4.pth'))
    again = add_invalid_loss(runner, 4)
    with pytest.raises(InvalidLossError, match='iteration 4 '):
        runner.train()
    assert again.paths == first.paths
    assert_equal(again.inputs, first.inputs)


@pytest.mark.reliability
def test_training_overflow_of_the_scaled_loss_does_not_stop(repo, shapes, tmp_path):
    """The scaled loss is infinite, the loss is not; a scaler leaves out such steps by itself."""
    runner = build(write_config(tmp_path, 'epochs', repo, shapes), tmp_path / 'run', **{'train_cfg.max_epochs': 1})
    scaled = []
    runner.optim_wrapper.scale_loss = lambda loss: scaled.append(loss * 1e30 * 1e30) or scaled[-1]
    runner.optim_wrapper.should_update = lambda: False
    runner.train()
    assert len(scaled) == 5 and not any(loss.isfinite() for loss in scaled)


@pytest.mark.reliability
def test_training_invalid_loss_on_a_full_disk_still_names_the_cause(repo, shapes, tmp_path, monkeypatch):
    runner = build(write_config(tmp_path, 'epochs', repo, shapes), tmp_path / 'run')
    hook = add_invalid_loss(runner, 2)

    def full(file, content):
        raise OSError(errno.ENOSPC, 'No space left on device')

    monkeypatch.setattr(fileio, '_write', full)
    with pytest.raises(InvalidLossError, match='iteration 2 .*loss_bbox = nan') as error:
        runner.train()
    assert 'could not be saved' in str(error.value) and hook.paths[0] in str(error.value)
    assert not list((tmp_path / 'run').glob('.*'))


class CopyModel(Hook):
    """Copies the whole model in the midst of training."""

    def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None) -> None:
        self.pickled, self.copied = pickle.dumps(runner.model), deepcopy(runner.model)
        self.state = deepcopy(runner.model.state_dict())


def test_model_during_and_after_training_pickles_and_copies(repo, shapes, tmp_path, monkeypatch):
    runner = build(write_config(tmp_path, 'epochs', repo, shapes), tmp_path / 'run', **{'train_cfg.max_epochs': 1})
    before = set(vars(runner.model))
    keep_mmcv_in_float32(runner.model)  # as for bfloat16
    hook = CopyModel()
    runner.register_hook(hook)
    runner.train()
    for model in (pickle.loads(hook.pickled), hook.copied):
        assert_equal(dict(model.state_dict()), dict(hook.state))
        assert model.parse_losses.__self__ is model
        assert [check() for check in model._forward_hooks.values()] == [None], 'it is no longer watched'
    model = runner.model
    assert set(vars(model)) == before
    torch.save(model, tmp_path / 'model.pth')
    batch = model.data_preprocessor(next(iter(runner.val_dataloader)), False)
    monkeypatch.delenv('TORCH_FORCE_WEIGHTS_ONLY_LOAD', raising=False)  # which our tools set
    again = torch.load(tmp_path / 'model.pth', weights_only=False)
    with torch.no_grad():
        for other in (again, pickle.loads(pickle.dumps(model)), deepcopy(model)):
            for out, expected in zip(other.eval().backbone(batch['inputs']), model.eval().backbone(batch['inputs'])):
                assert_equal(out, expected)


# Makes the second process's loss NaN at the second step.
INVALID_LOSS_IN_RANK_1 = """
from mmengine.hooks import Hook
from mmengine.registry import HOOKS

@HOOKS.register_module()
class InvalidLossInRank1(Hook):
    def before_train(self, runner):
        head = runner.model.module.bbox_head
        compute = head.loss

        def loss(*args, **kwargs):
            losses = compute(*args, **kwargs)
            if runner.rank == 1 and runner.iter == 1:
                losses['loss_bbox'][0] = losses['loss_bbox'][0] * float('nan')
            return losses
        head.loss = loss
"""


@pytest.mark.reliability
def test_training_invalid_loss_in_second_process_stops_both(repo, shapes, tmp_path, tally):
    (tmp_path / 'spoil.py').write_text(INVALID_LOSS_IN_RANK_1)
    config = write_config(
        tmp_path, 'epochs', repo, shapes, imports=", 'spoil'", hooks="dict(type='InvalidLossInRank1')"
    )
    port = 29000 + os.getpid() % 2000
    result = subprocess.run(
        [
            sys.executable,
            '-m',
            'torch.distributed.run',
            '--nproc_per_node=2',
            f'--master_port={port}',
            repo / 'tools/train.py',
            config,
            '--launcher',
            'pytorch',
            '--work-dir',
            'run',
        ],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=300,
        env={**os.environ, 'PYTHONPATH': os.pathsep.join([str(tmp_path), os.environ.get('PYTHONPATH', '')])},
    )
    assert result.returncode
    assert (
        'error: The loss is not finite at iteration 2 (epoch 1, process 1): loss = nan, loss_bbox = nan'
        in result.stdout
    ), result.stdout[-3000:]
    facts = json.loads(Path(tmp_path / 'run/invalid_loss_iter_2_rank1.json').read_text())
    assert facts['rank'] == 1 and len(facts['images']) == 2
    assert 'optimizer' in torch.load(tmp_path / 'run/invalid_loss_iter_2_rank1.pth', weights_only=True)
    tally('losses that were not finite')
