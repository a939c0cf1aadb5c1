"""Shares of operators in the time of a model."""

import sys

import pytest
from helpers.benchmarks import run_benchmark

from mmrest.benchmark.profiling import _kind
from mmrest.ops.cached_blocks import GroupedProducts


def test_operator_shares_of_a_backbone_name_every_kind(monkeypatch):
    monkeypatch.setattr(sys.modules['mmrest.ops.linear'], 'MIN_PRODUCTS', 0)
    rows = run_benchmark('rest-lite:chunked', '--shape', 64, 64, '--profile')
    for row in rows:
        assert sum(row['shares'].values()) == pytest.approx(1)
        assert {
            'matrix products of attention',
            'linear layers',
            'mixing of heads',
            'convolutions',
            'softmax',
            'norms',
        } <= {kind for kind, share in row['shares'].items() if share > 0}


@pytest.mark.parametrize('model', ['rest-lite:chunked', 'rest-lite:direct', 'rest-lite:matmul', 'rest-lite:released'])
@pytest.mark.parametrize('batch', [1, 2])
def test_operator_shares_of_attention_alone_have_mixing_and_no_linear_layers(model, batch):
    # Of 5 x 5 tokens at the end, more than heads.
    for row in run_benchmark(model, '--part', 'attention', '--shape', 160, 160, '--batch-size', batch, '--profile'):
        assert row['shares']['mixing of heads'] > 0 and 'linear layers' not in row['shares']


@pytest.mark.parametrize('name', ['rest-lite', 'restv2-tiny'])
def test_products_of_attention_by_convolutions_are_no_linear_layers(monkeypatch, two_threads, name):
    calls = []
    original = GroupedProducts.convolve
    monkeypatch.setattr(GroupedProducts, 'convolve', lambda *args: calls.append(args) or original(*args))
    words = ('--part', 'attention', '--shape', 192, 192, '--profile')
    for row in run_benchmark(f'{name}:chunked,onednn', *words):
        assert row['shares']['matrix products of attention'] > 0 and 'linear layers' not in row['shares']
    assert calls


def test_operator_shares_without_head_mixing_have_none_of_it():
    for row in run_benchmark('restv2-tiny:chunked', '--part', 'attention', '--shape', 160, 160, '--profile'):
        assert {'mixing of heads', 'linear layers'}.isdisjoint(row['shares'])


@pytest.mark.parametrize(
    'name, shapes, kind',
    [
        ('aten::bmm', [[2, 50, 32], [2, 32, 7]], 'matrix products of attention'),
        ('aten::baddbmm_', [[8, 7, 64], [8, 7, 50], [8, 50, 64], [], []], 'matrix products of attention'),
        ('aten::mm', [[8, 8], [8, 300]], 'mixing of heads'),
        ('aten::bmm', [[2, 8, 8], [2, 8, 300], [2, 8, 300]], 'mixing of heads'),
        ('aten::matmul', [[8, 8], [2, 8, 300], [2, 8, 300]], 'mixing of heads'),
        ('aten::bmm', [[1, 8, 300], [1, 300, 8]], 'mixing of heads'),
        ('aten::bmm', [[50, 8, 20], [50, 20, 8]], 'mixing of heads'),
        ('aten::_slow_conv2d_backward', [[2, 8, 9, 9], [2, 8, 9, 9], [8, 8, 1, 1], [], []], 'mixing of heads'),
        ('aten::matmul', [[2, 300, 64], [64, 16]], 'linear layers'),
        ('aten::matmul', [[2, 8, 50, 64], [2, 8, 64, 20]], 'matrix products of attention'),
        (
            'aten::_scaled_dot_product_flash_attention_for_cpu',
            [[1, 8, 9, 9], [1, 8, 9, 9], [1, 8, 9, 9]],
            'matrix products of attention',
        ),
        ('aten::addmm', [[64], [300, 16], [16, 64]], 'linear layers'),
        ('aten::mkldnn_convolution', [[1, 64, 300, 1], [128, 64, 1, 1], [128]], 'linear layers'),
        ('aten::mkldnn_convolution', [[1, 64, 9, 9], [128, 64, 3, 3], []], 'convolutions'),
        ('aten::convolution_backward', [[1, 64, 9, 9], [1, 64, 9, 9], [64, 1, 3, 3]], 'convolutions'),
        ('aten::mkldnn_convolution_backward', [[1, 128, 9, 1], [1, 64, 9, 1], [128, 64, 1, 1]], 'linear layers'),
        ('aten::_softmax_backward_data', [], 'softmax'),
        ('mmrest::emsa_chunked', [], 'others'),
    ],
)
def test_operator_kind_follows_from_name_and_shapes(name, shapes, kind):
    assert _kind(name, shapes) == kind
