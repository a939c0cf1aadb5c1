"""Runner of the tools: its classes, and objects of a run that are what their classes say."""

from pathlib import Path

import pytest
import torch
from helpers.compare import assert_equal
from helpers.configs import DEMO
from mmengine.config import Config
from mmengine.hooks import CheckpointHook, Hook
from mmengine.model import BaseModel
from mmengine.registry import HOOKS, MODELS, RUNNERS
from mmengine.runner import BaseLoop, IterBasedTrainLoop, Runner
from torch import nn
from torch.utils.data import BatchSampler, DataLoader, Dataset, Subset

from mmrest import ResT
from mmrest.engine import UsageError, build_runner, load_config, prepare_train
from mmrest.engine.hooks import AtomicCheckpointHook, InvalidLossHook, RandomStateHook
from mmrest.engine.runner import CheckedRunner, find_runner
from mmrest.engine.seeding import SeededBatchSampler, SeededDataLoader
from mmrest.engine.validation.optimizers import find_unmatched_keys
from mmrest.ops.processor import describe_choices

pytestmark = pytest.mark.usefixtures('own_process_state')


class Noise(Dataset):
    """Samples that are drawn from the global generator."""

    def __len__(self):
        return 5

    def __getitem__(self, index):
        return torch.rand(2)


class RunnerModel(BaseModel):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(2, 1)
        self.seen = []

    def forward(self, inputs, mode='tensor'):
        self.seen.append(inputs.clone())
        out = self.layer(inputs)
        return dict(loss=out.square().mean()) if mode == 'loss' else [out.mean()]


class OwnRunner(Runner):
    """A project's own runner, named as runner_type."""

    def register_hooks(self, default_hooks=None, custom_hooks=None):
        super().register_hooks(default_hooks, custom_hooks)
        self.own = True


class OwnCheckpointHook(CheckpointHook):
    pass


@pytest.fixture(autouse=True)
def registered(monkeypatch):
    for registry, kind in ((MODELS, RunnerModel), (RUNNERS, OwnRunner), (HOOKS, OwnCheckpointHook)):
        monkeypatch.setitem(registry.module_dict, kind.__name__, kind)


def config(folder, by_epoch=True, batch_sampler=None, workers=0, dataset=None, **more) -> Config:
    loader = dict(
        dataset=dataset or Noise(),
        sampler=dict(type='DefaultSampler', shuffle=True),
        batch_size=2,
        collate_fn=dict(type='default_collate'),
        num_workers=workers,
        batch_sampler=batch_sampler,
    )
    test = {**loader, 'batch_sampler': None, 'num_workers': 0}
    length = dict(max_epochs=2) if by_epoch else dict(max_iters=6)
    return Config(
        dict(
            model=dict(type='RunnerModel'),
            work_dir=str(folder / 'run'),
            launcher='none',
            randomness=dict(seed=3),
            train_dataloader=loader,
            train_cfg=dict(by_epoch=by_epoch, **length),
            test_dataloader=test,
            test_cfg=dict(),
            optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
            test_evaluator=dict(type='DumpResults', out_file_path=str(folder / 'o.pkl')),
            default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=by_epoch, interval=2, priority='LOW')),
            custom_hooks=[dict(type='InvalidLossHook')],
            experiment_name=str(folder).replace('/', '-'),
            **more,
        )
    )


def shadowed(owner) -> list[str]:
    """Methods of an object's class that attributes of the object stand before."""
    return [name for name in vars(owner) if callable(getattr(type(owner), name, None))]


@pytest.mark.parametrize('by_epoch', [True, False])
@pytest.mark.parametrize('batch_sampler', [None, dict(type=BatchSampler, drop_last=True)])
def test_train_objects_have_no_overridden_methods(tmp_path, by_epoch, batch_sampler):
    """While it trains and afterwards, no attribute stands before a method."""
    during = []

    class RecordOverrides(Hook):
        def after_train_iter(self, runner, batch_idx, data_batch=None, outputs=None):
            during.extend(shadowed(each) for each in (runner, runner.model, runner.train_dataloader.dataset))

    cfg = config(tmp_path, by_epoch, batch_sampler)
    runner = build_runner(cfg, train=True)
    runner.register_hook(RecordOverrides())
    runner.model.data_preprocessor = PassThrough()
    runner.train()
    loader = runner.train_dataloader
    assert type(runner) is CheckedRunner and type(loader) is SeededDataLoader and loader.batch_size == 2
    assert type(loader.batch_sampler) is SeededBatchSampler and type(loader.dataset) is Noise
    assert loader.batch_sampler.endless == isinstance(runner.train_loop, IterBasedTrainLoop) == (not by_epoch)
    assert len(loader) == (2 if batch_sampler else 3)
    for owner in (runner, runner.model, loader, loader.dataset, loader.batch_sampler, *runner.hooks):
        assert not shadowed(owner), type(owner)
    assert during and not any(during)
    kinds = [type(hook) for hook in runner.hooks]
    assert AtomicCheckpointHook in kinds and CheckpointHook not in kinds and kinds.count(RandomStateHook) == 1
    assert InvalidLossHook in kinds
    hook = runner.hooks[kinds.index(AtomicCheckpointHook)]
    assert hook.interval == 2 and hook.by_epoch == by_epoch and hook.priority == 'LOW'


class PassThrough(nn.Module):
    """Stands for a data preprocessor."""

    def forward(self, data, training=False):
        return dict(inputs=data)


def test_build_dataloader_for_testing_is_the_stock_loader(tmp_path):
    runner = build_runner(config(tmp_path))
    assert type(runner.test_loop.dataloader) is DataLoader and not shadowed(runner)
    given = DataLoader([1, 2])
    assert runner.build_dataloader(given) is given


@pytest.mark.parametrize('runner_type', [None, 'Runner', 'CheckedRunner', 'OwnRunner', OwnRunner])
def test_build_runner_saves_the_config_unchanged(tmp_path, runner_type):
    """A runner of a project's own is the base of the one that runs."""
    cfg = config(tmp_path, dataset=dict(type='Unused'), **(dict(runner_type=runner_type) if runner_type else {}))
    if runner_type is OwnRunner:
        assert issubclass(find_runner(cfg), OwnRunner) and find_runner(cfg).__name__ == 'OwnRunner'
        return
    runner = build_runner(cfg)
    assert isinstance(runner, CheckedRunner) and isinstance(runner, OwnRunner) == (runner_type == 'OwnRunner')
    assert getattr(runner, 'own', False) == (runner_type == 'OwnRunner')
    saved = Config.fromfile(next(Path(cfg.work_dir).glob('*.py')))
    assert saved.get('runner_type') == runner_type
    assert saved.default_hooks.checkpoint.type == 'CheckpointHook' and len(saved.custom_hooks) == 1
    assert saved.train_dataloader == cfg.train_dataloader and saved.train_dataloader.batch_sampler is None


def test_find_runner_unknown_name_raises(tmp_path):
    assert find_runner(Config(dict(runner_type='FlexibleRunner'))) is None
    cfg = config(tmp_path, runner_type='OwnRuner')
    with pytest.raises(UsageError, match="runner_type = 'OwnRuner' is not registered in RUNNERS: check the spelling"):
        build_runner(cfg)
    assert not Path(cfg.work_dir).exists()


@pytest.mark.parametrize(
    'hook, expected',
    [
        (dict(type='CheckpointHook'), AtomicCheckpointHook),
        (dict(type='mmengine.CheckpointHook'), AtomicCheckpointHook),
        (dict(type=CheckpointHook), AtomicCheckpointHook),
        (dict(type='OwnCheckpointHook'), OwnCheckpointHook),
    ],
)
def test_build_runner_replaces_only_the_stock_checkpoint_hook(tmp_path, hook, expected):
    cfg = config(tmp_path)
    cfg.default_hooks.checkpoint = dict(hook, interval=3)
    kinds = [type(each) for each in build_runner(cfg).hooks if isinstance(each, CheckpointHook)]
    assert kinds == [expected]


@pytest.mark.parametrize('dataset', [Noise(), Subset(Noise(), range(5))])
def test_train_samples_are_equal_with_and_without_workers(tmp_path, dataset):
    """The random state of the model does not matter; a Subset loads whole batches at once."""
    runs = []
    for workers in (0, 2):
        runner = build_runner(config(tmp_path / str(workers), workers=workers, dataset=dataset), train=True)
        runner.model.data_preprocessor = PassThrough()
        runner.train()
        runs.append(torch.cat(runner.model.seen))
    assert_equal(runs[1], runs[0])
    assert len(runs[0]) == 10 and len(runs[0].unique()) == 20


def test_build_train_loop_other_loop_warns(tmp_path, monkeypatch):
    class OwnLoop(BaseLoop):
        def run(self):
            pass

    cfg = config(tmp_path)
    cfg.train_cfg = dict(type=OwnLoop)
    runner = build_runner(cfg)
    said = []
    monkeypatch.setattr(runner.logger, 'warning', said.append)
    assert type(runner.build_train_loop(runner._train_loop).dataloader) is DataLoader
    assert len(said) == 1 and 'cannot be restored when it is resumed' in said[0]


def test_build_runner_missing_package_is_named(monkeypatch, shapes):
    def fail(cfg):
        raise ModuleNotFoundError("No module named 'nothere'")

    monkeypatch.setattr('mmengine.runner.Runner.from_cfg', fail)
    with pytest.raises(UsageError, match='(?s)not installed.*nothere.*mmrest.doctor'):
        build_runner(load_config(DEMO, dict(data_root=str(shapes))))


@pytest.mark.parametrize(
    'options, message',
    [
        ({'model.backbone.arch': 'smal'}, "Unknown arch 'smal': choose from lite, small"),
        (
            {'model.backbone.type': 'ResTv2', 'model.backbone.arch': 'tiny', 'model.backbone.style': 'wide'},
            'Unknown style',
        ),
    ],
)
def test_build_runner_bad_backbone_argument_is_one_message(shapes, tmp_path, options, message):
    cfg = load_config(DEMO, {'data_root': str(shapes), **options}, work_dir=str(tmp_path))
    with pytest.raises(UsageError, match=f'^The config cannot be used: {message}'):
        build_runner(cfg)


@pytest.mark.parametrize(
    'wrapper, message',
    [
        (dict(paramwise_cfg=dict(layer_decay_rate=2)), r'paramwise_cfg needs a layer_decay_rate in \(0, 1\], got 2'),
        (dict(paramwise_cfg=dict(layer_decay_rate=0.5), optimizer=dict(lr=None)), 'needs the lr'),
    ],
)
def test_build_runner_bad_optimizer_argument_is_one_message(shapes, tmp_path, wrapper, message):
    options = {
        'data_root': str(shapes),
        'optim_wrapper': dict(wrapper, constructor='LayerDecayOptimWrapperConstructor'),
    }
    with pytest.raises(UsageError, match=f'^The config cannot be used: .*{message}'):
        build_runner(load_config(DEMO, options, work_dir=str(tmp_path)), train=True)


def test_scale_lr_scales_the_base_rate(shapes, tmp_path):
    cfg = load_config(DEMO, {'data_root': str(shapes), 'train_dataloader.batch_size': 2}, work_dir=str(tmp_path))
    runner = build_runner(prepare_train(cfg, auto_scale_lr=True), train=True)
    runner.scale_lr(runner.optim_wrapper, runner.auto_scale_lr)
    assert {group['lr'] for group in runner.optim_wrapper.param_groups} == {1e-3 * 2 / 8}


def test_build_runner_value_error_of_others_is_kept(monkeypatch, shapes):
    def fail(cfg):
        raise ValueError('of mmdet')

    monkeypatch.setattr('mmengine.runner.Runner.from_cfg', fail)
    with pytest.raises(ValueError, match='of mmdet'):
        build_runner(load_config(DEMO, dict(data_root=str(shapes))))


@pytest.mark.parametrize(
    'change, message',
    [
        (dict(model=dict(type='RunnerModel', depth=3)), 'unexpected keyword argument .depth'),
        (
            dict(
                optim_wrapper=dict(
                    optimizer=dict(type='SGD', lr=0.1),
                    constructor='LayerDecayOptimWrapperConstructor',
                    paramwise_cfg=dict(layer_decay_rate=0.9),
                )
            ),
            'Layer decay needs a model with a part that has get_layer_depth',
        ),
    ],
    ids=['model', 'optimizer'],
)
@pytest.mark.parametrize('existing', [[], ['epoch_1.pth']])
def test_build_runner_refused_leaves_nothing_in_the_work_dir(tmp_path, change, message, existing):
    cfg = config(tmp_path)
    cfg.update(change)
    for name in existing:
        (tmp_path / 'run').mkdir()
        (tmp_path / 'run' / name).touch()
    with pytest.raises(UsageError, match=message):
        build_runner(cfg, train=True)
    assert [path.name for path in (tmp_path / 'run').rglob('*')] == existing
    assert (tmp_path / 'run').exists() == bool(existing)


def test_run_after_a_refused_one_logs_into_its_own_folder(tmp_path):
    visualizer = dict(type='Visualizer', name='shared', vis_backends=[dict(type='LocalVisBackend')])
    with pytest.raises(UsageError, match='unexpected keyword'):
        wrong = config(tmp_path, visualizer=visualizer)
        wrong.model.depth = 3
        build_runner(wrong)
    refused = config(tmp_path, visualizer=visualizer)
    refused.optim_wrapper.constructor = 'LayerDecayOptimWrapperConstructor'
    refused.optim_wrapper.paramwise_cfg = dict(layer_decay_rate=0.9)
    with pytest.raises(UsageError, match='Layer decay'):
        build_runner(refused, train=True)
    runner = build_runner(config(tmp_path, visualizer=visualizer), train=True)
    assert [path.name for path in (tmp_path / 'run').iterdir() if path.is_dir()] == [Path(runner.log_dir).name]
    assert list(Path(runner.log_dir).glob('*.log')) and list(Path(runner.log_dir).glob('vis_data/config.py'))


def test_log_names_the_products_of_the_processor(tmp_path):
    runner = build_runner(config(tmp_path))
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert log.count(describe_choices()) == 1 and f', {torch.get_num_threads()} threads: ' in log


@pytest.mark.parametrize('unmatched', [[], ['layers'], ['layers', 'head']])
def test_build_runner_unmatched_custom_keys_are_logged_once(tmp_path, unmatched):
    cfg = config(tmp_path)
    cfg.optim_wrapper.paramwise_cfg = dict(custom_keys={key: dict(lr_mult=0.1) for key in ['layer.weight', *unmatched]})
    runner = build_runner(cfg, train=True)
    log = next(Path(runner.log_dir).glob('*.log')).read_text()
    assert log.count('No parameter name contains') == bool(unmatched)
    assert f'contains {", ".join(map(repr, unmatched))} of optim_wrapper.paramwise_cfg' in log or not unmatched


def test_find_unmatched_keys_compares_substrings(tiny):
    keys = dict(stage1=dict(lr_mult=0.1), norm=dict(decay_mult=0.0), relative_position_bias_table=dict(decay_mult=0.0))
    wrapper = dict(constructor='LayerDecayOptimWrapperConstructor', paramwise_cfg=dict(custom_keys=keys))
    assert find_unmatched_keys(wrapper, ResT(tiny)) == ['relative_position_bias_table']
    assert find_unmatched_keys(dict(paramwise_cfg=None), ResT(tiny)) == find_unmatched_keys(None, ResT(tiny)) == []
