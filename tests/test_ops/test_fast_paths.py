"""The switch of the fast paths."""

import subprocess
import sys
from collections import Counter

import pytest
import torch
from torch import nn

from mmrest import ResT, ResTv2
from mmrest.ops import fast_paths, fast_paths_enabled, ffn, linear

STOCK = (nn.Linear, nn.Conv2d, nn.BatchNorm2d, nn.LayerNorm, nn.GELU, nn.Dropout)


def count_calls(model, x):
    """Count the calls of each stock layer, without hooks, which would themselves end the fast paths."""
    names = {id(module): name for name, module in model.named_modules() if type(module) in STOCK}
    calls = Counter()

    def profile(frame, event, _):
        if event == 'call' and frame.f_code.co_name == 'forward':
            name = names.get(id(frame.f_locals.get('self')))
            if name is not None:
                calls[name] += 1

    sys.setprofile(profile)
    try:
        model(x)
    finally:
        sys.setprofile(None)
    return calls, names.values()


@pytest.fixture
def greedy(monkeypatch):
    """Fast paths are taken at the sizes of a test."""
    threads = torch.get_num_threads()
    torch.set_num_threads(2)
    monkeypatch.setattr(linear, 'float32_library', lambda: 'onednn')
    monkeypatch.setattr(linear, 'MIN_PRODUCTS', 0)
    monkeypatch.setattr(linear, 'MIN_TOKENS', 1)
    monkeypatch.setitem(ffn.BLOCK_ELEMENTS, 'cpu', 64)
    yield
    torch.set_num_threads(threads)


@pytest.mark.parametrize('backbone', [ResT, ResTv2])
@pytest.mark.parametrize('train', [True, False])
def test_all_layers_are_called_once_where_fast_paths_are_off(tiny, greedy, backbone, train):
    model, x = backbone(tiny, ffn_recompute=True).train(train), torch.rand(2, 3, 64, 64)
    with torch.set_grad_enabled(train):
        with fast_paths(False):
            calls, names = count_calls(model, x)
        fast, _ = count_calls(model, x)
    single = {name for name in names if not name.endswith('transform_conv')}  # inside the attention, see attn_impl
    assert {name: calls[name] for name in single} == {name: 2 if '.mlp.drop' in name else 1 for name in single}
    assert any(fast[name] != calls[name] for name in single)


def test_the_switch_ends_with_its_context():
    with pytest.raises(KeyError), fast_paths(False):
        assert not fast_paths_enabled()
        raise KeyError
    assert fast_paths_enabled()


@pytest.mark.parametrize('value, enabled', [('0', False), ('1', True), ('', True)])
def test_the_environment_variable_sets_the_switch(value, enabled):
    command = 'from mmrest.ops import fast_paths_enabled; print(fast_paths_enabled())'
    environment = {'MMREST_FAST_PATHS': value, 'PYTHONPATH': ':'.join(sys.path)}
    out = subprocess.run([sys.executable, '-c', command], env=environment, capture_output=True, text=True, check=True)
    assert out.stdout.strip() == str(enabled)
