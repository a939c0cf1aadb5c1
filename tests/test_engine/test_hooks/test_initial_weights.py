"""Runs from random weights: a warning where a checkpoint may have been forgotten, and nowhere else."""

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


@pytest.mark.parametrize(
    'options, is_main, expected',
    [
        (lambda path: {}, True, 1),
        (lambda path: {}, False, 0),
        (lambda path: dict(from_scratch=True), True, 0),
        (lambda path: {'model.backbone.init_cfg': dict(type='Pretrained', checkpoint=path)}, True, 0),
        (lambda path: dict(load_from=path), True, 0),
    ],
)
def test_run_from_random_weights_says_so_once(
    own_process_state, repo, shapes, tmp_path, monkeypatch, checkpoint, options, is_main, expected
):
    for library in ('mmdet', 'mmcv._ext'):
        pytest.importorskip(library)
    config = write_config(tmp_path, 'epochs', repo, shapes, more='from_scratch = False\n')
    short = {'train_cfg.max_epochs': 1, 'train_dataloader.dataset.indices': 2}
    runner = build(config, tmp_path / 'run', **short, **options(checkpoint))
    monkeypatch.setattr(initial_weights, 'is_main_process', lambda: is_main)
    runner.train()
    stop_workers(runner)
    (log,) = (tmp_path / 'run').glob('*/*.log')
    said = [line for line in log.read_text().splitlines() if SAID in line]
    assert len(said) == expected and all('WARNING' in line for line in said)


def test_configs_made_for_random_weights_say_so(repo):
    """Those of the drawn shapes, and of ImageNet, where the weights come from."""
    from mmengine.config import Config

    for library in ('mmdet', 'mmseg', 'mmpretrain'):
        pytest.importorskip(library)
    names = [path for path in sorted((repo / 'configs').rglob('*.py')) if '_base_' not in path.parts]
    expected = {path.stem for path in names if 'shapes' in path.stem or '_in1k' in path.stem}
    assert {path.stem for path in names if Config.fromfile(path).get('from_scratch')} == expected


def test_hook_is_that_of_training_runs_alone(own_process_state, repo, shapes, tmp_path):
    pytest.importorskip('mmdet')
    pytest.importorskip('mmcv._ext')
    config = write_config(tmp_path, 'epochs', repo, shapes)
    runner = build(config, tmp_path / 'run')
    assert [type(hook) for hook in runner.hooks].count(InitialWeightsHook) == 1
