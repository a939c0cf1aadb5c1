"""Modules that a parent may compute without calling them."""

from functools import partial

import pytest
import torch
from torch import nn
from torch.nn.modules.module import (
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
)
from torch.nn.utils import parametrizations, prune

from mmrest.ops import is_stock


class Sharded(torch.Tensor):
    """Stands for tensors that are quantized or spread over processes."""


def set_forward(layer):
    layer.forward = partial(nn.Linear.forward, layer)


def set_weight(layer):
    layer.weight = nn.Parameter(layer.weight.detach().as_subclass(Sharded))


CHANGES = {
    'forward hook': lambda layer: layer.register_forward_hook(print),
    'forward pre-hook': lambda layer: layer.register_forward_pre_hook(print),
    'backward hook': lambda layer: layer.register_full_backward_hook(print),
    'backward pre-hook': lambda layer: layer.register_full_backward_pre_hook(print),
    'pruned': lambda layer: prune.random_unstructured(layer, 'weight', 0.5),
    'weight_norm': nn.utils.weight_norm,
    'spectral_norm': nn.utils.spectral_norm,
    'parametrized': parametrizations.orthogonal,
    'compiled': lambda layer: layer.compile(backend='eager'),
    'forward set': set_forward,
    'other tensors': set_weight,
}
GLOBAL = [
    register_module_forward_hook,
    register_module_forward_pre_hook,
    register_module_full_backward_hook,
    register_module_full_backward_pre_hook,
]


@pytest.mark.parametrize('change', CHANGES)
@pytest.mark.filterwarnings('ignore:.*weight_norm.*:FutureWarning')
def test_a_changed_layer_is_not_stock(change):
    layer = nn.Linear(8, 8)
    assert is_stock(layer, nn.Linear)
    CHANGES[change](layer)
    assert not is_stock(layer, nn.Linear)


@pytest.mark.parametrize('register', GLOBAL)
def test_global_hooks_count(register):
    layer = nn.Linear(8, 8)
    handle = register(lambda *_: None)
    assert not is_stock(layer, nn.Linear)
    handle.remove()
    assert is_stock(layer, nn.Linear)


def test_a_class_of_ones_own_and_one_that_is_patched(monkeypatch):
    assert not is_stock(type('Linear', (nn.Linear,), {})(8, 8), nn.Linear)
    assert not is_stock(nn.Conv2d(8, 8, 1), nn.Linear)
    with monkeypatch.context() as patch:
        patch.setattr(nn.Linear, 'forward', lambda self, x: x)
        assert not is_stock(nn.Linear(8, 8), nn.Linear)
    with monkeypatch.context() as patch:
        patch.setattr(nn.Module, '__call__', lambda self, x: x)
        assert not is_stock(nn.Linear(8, 8), nn.Linear)
    assert is_stock(nn.Linear(8, 8, bias=False), nn.Linear)


def test_parameters_of_functional_call_are_stock():
    class Parent(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(8, 8)

        def forward(self, x):
            return self.layer(x) if is_stock(self.layer, nn.Linear) else None

    parent = Parent()
    params = {key: p.detach() for key, p in parent.named_parameters()}
    assert torch.func.functional_call(parent, params, torch.zeros(1, 8)) is not None
