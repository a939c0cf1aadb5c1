"""The hook that compiles the backbone, in a run of mmengine."""

import logging
from types import SimpleNamespace

import pytest
import torch
from conftest import TINY
from mmengine.hooks import EMAHook
from mmengine.model import BaseModel
from mmengine.registry import HOOKS
from mmengine.runner import Runner
from torch import nn

from mmrest import CompileBackboneHook, ResT


class Model(BaseModel):
    """The first stage, and something on top."""

    def __init__(self):
        super().__init__()
        self.backbone = ResT(TINY, out_indices=(0,))
        self.head = nn.Conv2d(8, 1, 1)

    def forward(self, inputs, mode='tensor'):
        out = self.head(self.backbone(inputs)[-1])
        return dict(loss=out.square().mean()) if mode == 'loss' else out


def run(folder, *hooks) -> Runner:
    """Two iterations, then a test."""
    torch.manual_seed(0)
    loader = dict(
        dataset=[torch.rand(3, 32, 32) for _ in range(2)],
        sampler=dict(type='DefaultSampler', shuffle=False),
        batch_size=1,
        collate_fn=dict(type='default_collate'),
    )
    runner = Runner(
        Model(),
        str(folder),
        train_dataloader=loader,
        train_cfg=dict(by_epoch=False, max_iters=2),
        optim_wrapper=dict(optimizer=dict(type='SGD', lr=0.1)),
        test_dataloader=loader,
        test_cfg=dict(),
        test_evaluator=dict(type='DumpResults', out_file_path=str(folder / 'out.pkl')),
        custom_hooks=list(hooks),
        default_hooks=dict(checkpoint=dict(type='CheckpointHook', by_epoch=False, interval=2)),
        experiment_name=str(folder).replace('/', '-'),
    )
    runner.model.data_preprocessor.forward = lambda data, training=False: dict(inputs=data)
    return runner


def test_compile_hook_in_a_run_keeps_weights_and_names(tmp_path):
    plain = run(tmp_path / 'plain')
    plain.train()
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    runner = run(
        tmp_path / 'compiled',
        dict(type='EMAHook', momentum=0.5, update_buffers=True),
        dict(type='CompileBackboneHook', backend='aot_eager'),
    )
    runner.train()
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] > 0
    compiled = runner.model.backbone._compiled_call_impl
    assert compiled is not None
    average = next(hook for hook in runner.hooks if isinstance(hook, EMAHook)).ema_model
    assert average.module.backbone._compiled_call_impl is None
    # The same weights under the same names as without the hook.
    files = [torch.load(tmp_path / name / 'iter_2.pth', weights_only=True) for name in ('plain', 'compiled')]
    for name, value in files[0]['state_dict'].items():
        torch.testing.assert_close(runner.model.state_dict()[name], value, rtol=1e-4, atol=1e-5)
    assert files[0]['state_dict'].keys() == files[1]['state_dict'].keys()
    runner.test()
    assert runner.model.backbone._compiled_call_impl is compiled  # once is enough
    assert (tmp_path / 'compiled/out.pkl').stat().st_size > 0


def fake(model: nn.Module) -> SimpleNamespace:
    return SimpleNamespace(model=model, logger=logging.getLogger('test'))


@pytest.mark.parametrize('moment', ['before_train', 'before_val', 'before_test'])
def test_compile_hook_compiles_before_train_val_and_test(moment):
    model = Model()
    getattr(CompileBackboneHook(backend='eager'), moment)(fake(model))
    assert model.backbone._compiled_call_impl is not None and model._compiled_call_impl is None


def test_compile_hook_named_part_is_compiled_inside_wrappers():
    from mmengine.model import BaseTTAModel

    class Flips(BaseTTAModel):
        def merge_preds(self, data_samples_list):
            return data_samples_list

    model = Model()
    CompileBackboneHook('backbone.stem', backend='eager').before_test(fake(Flips(model)))
    assert model.backbone.stem._compiled_call_impl is not None and model.backbone._compiled_call_impl is None
    with pytest.raises(ValueError, match='Model has no neck; its modules are data_preprocessor, backbone, head'):
        CompileBackboneHook('neck').before_train(fake(model))


def test_compile_hook_passes_its_options(monkeypatch):
    seen = {}
    monkeypatch.setattr(ResT, 'compile', lambda self, **options: seen.update(options))
    HOOKS.build(dict(type='CompileBackboneHook', mode='max-autotune', dynamic=True, fullgraph=True)).before_train(
        fake(Model())
    )
    assert seen == dict(backend='inductor', mode='max-autotune', dynamic=True, fullgraph=True)


def test_compile_hook_beyond_recompile_limit_runs_uncompiled():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()
    model = Model().eval()
    images = [torch.rand(1, 3, 32, width) for width in (32, 40, 48, 56)]
    with torch.no_grad():
        expected = [model(image) for image in images]
        CompileBackboneHook(backend='eager').before_test(fake(model))
        with torch._dynamo.config.patch(recompile_limit=2):
            for image, out in zip(images, expected):
                torch.testing.assert_close(model(image), out, rtol=1e-4, atol=1e-5)
    assert torch._dynamo.utils.counters['stats']['unique_graphs'] == 2
