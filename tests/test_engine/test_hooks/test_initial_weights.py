"""Runs from random weights: a warning where a checkpoint may have been forgotten, and nowhere else."""

import logging
from types import SimpleNamespace

import pytest
import torch
from conftest import TINY
from helpers.small_runs import build, stop_workers, write_config
from mmengine.model import BaseModel
from torch import nn

from mmrest import ResT, ResTv2Ablation
from mmrest.engine.hooks import InitialWeightsHook, initial_weights
from mmrest.engine.hooks.initial_weights import describe_random_backbones, find_random_backbones

SAID = 'model.backbone starts from RANDOM WEIGHTS'
PRETRAINED = dict(type='Pretrained', checkpoint='x.pth')


class Detector(BaseModel):
    def __init__(self, backbone, init_cfg=None):
        super().__init__(init_cfg=init_cfg)
        self.backbone = backbone
        self.neck = nn.Linear(2, 2)

    def forward(self, inputs):
        return inputs


@pytest.mark.parametrize(
    'model, names',
    [
        (lambda: ResT(TINY), ['']),
        (lambda: Detector(ResT(TINY)), ['backbone']),
        (lambda: Detector(ResTv2Ablation(TINY)), ['backbone']),
        (lambda: Detector(ResT(TINY, init_cfg=dict(type='TruncNormal', layer='Linear'))), ['backbone']),
        (lambda: Detector(ResT(TINY, init_cfg=PRETRAINED)), []),
        (lambda: Detector(ResT(TINY, init_cfg=[PRETRAINED])), []),
        (lambda: Detector(ResT(TINY), init_cfg=PRETRAINED), []),
        (lambda: nn.Sequential(Detector(ResT(TINY), PRETRAINED), Detector(ResT(TINY))), ['1.backbone']),
        (lambda: Detector(nn.Linear(2, 2)), []),
    ],
)
def test_find_random_backbones_are_those_without_pretrained_weights(model, names):
    assert find_random_backbones(model()) == names


def test_describe_random_backbones_says_what_to_do():
    text = describe_random_backbones(['backbone'])
    assert text.startswith(SAID) and 'model.backbone.init_cfg.checkpoint=FILE' in text and 'from_scratch = True' in text
    assert describe_random_backbones(['a', 'b']).startswith('model.a, model.b start from')


@pytest.fixture
def checkpoint(tmp_path):
    weights = ResT(dict(TINY, depths=(1, 1, 2, 1))).state_dict()
    torch.save({f'backbone.{key}': value for key, value in weights.items()}, tmp_path / 'rest.pth')
    return str(tmp_path / 'rest.pth')


@pytest.mark.parametrize('pretrained', [False, True])
def test_run_from_random_weights_says_so_once(own_process_state, repo, shapes, tmp_path, checkpoint, pretrained):
    for library in ('mmdet', 'mmcv._ext'):
        pytest.importorskip(library)
    config = write_config(tmp_path, 'epochs', repo, shapes, more='from_scratch = False\n')
    options = {'train_cfg.max_epochs': 1, 'train_dataloader.dataset.indices': 2}
    if pretrained:
        options['model.backbone.init_cfg'] = dict(type='Pretrained', checkpoint=checkpoint)
    runner = build(config, tmp_path / 'run', **options)
    runner.train()
    stop_workers(runner)
    (log,) = (tmp_path / 'run').glob('*/*.log')
    said = [line for line in log.read_text().splitlines() if SAID in line]
    assert len(said) == (not pretrained) and all('WARNING' in line for line in said)


@pytest.mark.parametrize(
    'loaded, from_scratch, is_main, expected',
    [(False, False, True, 1), (True, False, True, 0), (False, True, True, 0), (False, False, False, 0)],
)
def test_hook_is_silent_with_a_checkpoint_on_purpose_and_in_other_processes(
    monkeypatch, loaded, from_scratch, is_main, expected
):
    said = []
    monkeypatch.setattr(initial_weights, 'is_main_process', lambda: is_main)
    runner = SimpleNamespace(
        model=Detector(ResT(TINY)),
        cfg=dict(from_scratch=from_scratch),
        logger=SimpleNamespace(warning=said.append),
        _has_loaded=loaded,
    )
    InitialWeightsHook().before_train(runner)
    assert len(said) == expected


def test_runner_of_a_training_has_the_hook_and_knows_what_it_loaded(own_process_state, repo, shapes, tmp_path):
    """The attribute of mmengine that the hook looks at."""
    pytest.importorskip('mmdet')
    pytest.importorskip('mmcv._ext')
    runner = build(write_config(tmp_path, 'epochs', repo, shapes), tmp_path / 'run')
    assert not runner._has_loaded and [type(hook) for hook in runner.hooks].count(InitialWeightsHook) == 1
    runner.load_or_resume()
    assert not runner._has_loaded
    torch.save(dict(state_dict=runner.model.state_dict()), tmp_path / 'a.pth')
    runner._load_from = str(tmp_path / 'a.pth')
    runner.load_or_resume()
    assert runner._has_loaded


def test_configs_made_for_random_weights_say_so(repo):
    """Those of the drawn shapes, and of ImageNet, where the weights come from."""
    from mmengine.config import Config

    for library in ('mmdet', 'mmseg', 'mmpretrain'):
        pytest.importorskip(library)
    names = [path for folder in ('configs', 'configs/ablations') for path in sorted((repo / folder).glob('*.py'))]
    expected = {path.stem for path in names if 'shapes' in path.stem or '_in1k' in path.stem}
    assert {path.stem for path in names if Config.fromfile(path).get('from_scratch')} == expected


@pytest.mark.parametrize('frozen_stages, expected', [(-1, False), (0, True), (1, True)])
def test_frozen_stages_with_random_weights_are_named(caplog, frozen_stages, expected):
    model = Detector(ResT(TINY, frozen_stages=frozen_stages))
    logger = logging.getLogger('initial_weights')
    runner = SimpleNamespace(model=model, cfg={}, _has_loaded=False, logger=logger)
    InitialWeightsHook().before_train(runner)
    (record,) = caplog.records
    said = 'With model.backbone.frozen_stages, its first layers would stay random: set it to -1.'
    assert (said in record.getMessage()) == expected
