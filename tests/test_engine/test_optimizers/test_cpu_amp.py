"""Mixed precision on a CPU, by the option --amp of training and testing."""

import pytest
import torch
from mmengine.optim import OptimWrapper
from torch import nn

from mmrest.engine.devices import computes_in_bfloat16
from mmrest.engine.optimizers import CPUAmpOptimWrapper
from mmrest.layers import attention

pytest.importorskip('mmdet')
pytest.importorskip('mmseg')
pytest.importorskip('mmcv.ops')

from helpers.small_runs import write_config  # noqa: E402

SHORT = dict(
    epochs=('train_dataloader.dataset.indices=2', 'train_cfg.max_epochs=1', 'test_dataloader.dataset.indices=2'),
    iterations=('train_cfg.max_iters=1', 'default_hooks.checkpoint.interval=1', 'test_dataloader.dataset.indices=2'),
)


def test_losses_are_computed_under_autocast_and_weights_stay_float32():
    model = nn.Linear(3, 2)
    wrapper = CPUAmpOptimWrapper(optimizer=torch.optim.SGD(model.parameters(), lr=0.1))
    before = model.weight.detach().clone()
    with wrapper.optim_context(model):
        out = model(torch.ones(1, 3))
        wrapper.update_params(out.float().sum())
    assert isinstance(wrapper, OptimWrapper) and out.dtype == torch.bfloat16 and not torch.is_autocast_enabled('cpu')
    torch.testing.assert_close(model.weight, before - 0.1)


@pytest.mark.parametrize('kind', list(SHORT))
@pytest.mark.usefixtures('own_process_state')
def test_amp_trains_and_tests_in_bfloat16(run, repo, shapes, tmp_path, monkeypatch, kind):
    seen = []
    emsa = attention.emsa
    monkeypatch.setattr(attention, 'emsa', lambda q, *args, **kwargs: seen.append(q.dtype) or emsa(q, *args, **kwargs))
    config = write_config(tmp_path, kind, repo, shapes)
    run('train', config, '--amp', '--work-dir', tmp_path / 'run', '--cfg-options', *SHORT[kind][:2])
    assert set(seen) == {torch.bfloat16}
    seen.clear()
    checkpoint = tmp_path / 'run' / ('epoch_1.pth' if kind == 'epochs' else 'iter_1.pth')
    assert {x.dtype for x in torch.load(checkpoint, weights_only=False)['state_dict'].values()} <= {
        torch.float32,
        torch.int64,
    }
    for options, dtype in ((['--amp'], torch.bfloat16), ([], torch.float32)):
        run('test', config, checkpoint, *options, '--cfg-options', SHORT[kind][2])
        assert set(seen) == {dtype}
        seen.clear()


@pytest.mark.parametrize(
    'gpu, train, cfg, expected',
    [
        (False, True, dict(optim_wrapper=dict(type='CPUAmpOptimWrapper')), True),
        (False, False, dict(optim_wrapper=dict(type='CPUAmpOptimWrapper')), False),
        (True, True, dict(optim_wrapper=dict(dtype='bfloat16')), True),
        (True, True, dict(optim_wrapper=dict(type='AmpOptimWrapper')), False),
        (False, False, dict(test_cfg=dict(fp16=True)), True),
        (True, False, dict(test_cfg=dict(fp16=True)), False),
        (False, True, dict(val_cfg=dict(fp16=True)), True),
        (False, True, dict(test_cfg=dict(fp16=True)), False),
    ],
)
def test_computes_in_bfloat16_by_optimizer_loop_and_device(monkeypatch, gpu, train, cfg, expected):
    monkeypatch.setattr(torch.cuda, 'is_available', lambda: gpu)
    assert computes_in_bfloat16(cfg, train) == expected
