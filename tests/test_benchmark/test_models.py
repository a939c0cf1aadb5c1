"""Models that the benchmark can build."""

from contextlib import nullcontext

import pytest
import torch
from helpers.benchmarks import run_benchmark
from torch import nn

from mmrest import ResT
from mmrest.analysis.complexity import add_up, count_backbone
from mmrest.benchmark import peers
from mmrest.benchmark.models import AttentionOnly, BenchmarkModel, parse_model
from mmrest.engine import UsageError
from mmrest.ops.processor import current_choices


def test_attention_alone_has_the_sizes_of_the_backbone(tiny):
    model = AttentionOnly(ResT(tiny), (100, 64), batch=2, baseline=None)
    shapes = [tuple(p.shape) for p in model.stages]
    # 25 x 16 tokens reduced 8 times, then 13 x 8 reduced 4 times: sides are rounded up.
    assert shapes[:2] == [(2, 400, 8), (2, 4 * 2, 16)] and shapes[4:6] == [(2, 104, 16), (2, 4 * 2, 32)]
    assert [setting[:3] for setting in model.settings] == [(1, 1, False), (2, 2, True), (4, 1, True), (8, 1, True)]
    assert len(model.train()()) == 5 and len(model.eval()()) == 1


@pytest.mark.parametrize('text', ['rest-lite', 'rest-lite:released', 'rest-lite:chunked,ffn_recompute', 'restv2-tiny'])
def test_multiply_adds_of_a_backbone_are_those_of_get_flops_for_every_image(text):
    name = text.partition(':')[0]
    expected = add_up(count_backbone(parse_model(name)._backbone(), (64, 96))[0])
    assert expected.attention > 0
    assert parse_model(text).count_macs('backbone', (64, 96), batch=3) == 3 * expected.total


def test_multiply_adds_of_attention_alone_equal_the_formula():
    """The products of queries, keys and values, and the mixing of heads: 2 n n' C + n n' k^2."""
    expected = 0
    for i, (heads, tokens, ratio) in enumerate(((1, 384, 8), (2, 96, 4), (4, 24, 2), (8, 6, 1))):
        mixing = heads**2 if heads > 1 else 0
        expected += 2 * tokens * (tokens // ratio**2) * (2 * 64 * 2**i + mixing)  # in two blocks
    assert parse_model('rest-lite').count_macs('attention', (64, 96), batch=1) == expected


def test_multiply_adds_that_depend_on_values_are_not_counted_for_detectors_only(monkeypatch):
    class Model(nn.Linear):
        def forward(self, x):
            return super().forward(x[x > 0])

    monkeypatch.setattr(BenchmarkModel, '_assemble', lambda self, *_: (Model(2, 3), (torch.ones(2),)))
    assert parse_model('rest-lite').count_macs('retinanet', (64, 96), 1) is None
    with pytest.raises(NotImplementedError):
        parse_model('rest-lite').count_macs('backbone', (64, 96), 1)


@pytest.mark.parametrize('name', ['resnet-50', 'swin-t', 'pvtv2-b2'])
def test_multiply_adds_of_peers_are_counted(name):
    pytest.importorskip('mmdet')
    expected = add_up(count_backbone(parse_model(name)._backbone(), (64, 96))[0])
    assert parse_model(name).count_macs('backbone', (64, 96), batch=1) == expected.total > 1e8


@pytest.mark.parametrize(
    'text, expected',
    [('rest-lite:blas', ('blas', 'float32')), ('rest-lite:with_cp,onednn', ('onednn', 'onednn'))],
)
def test_step_uses_the_library_of_the_model_in_both_passes(monkeypatch, text, expected):
    seen = []

    class Model(nn.Linear):
        def forward(self, x):
            out = super().forward(x)
            seen.append(current_choices())
            if out.requires_grad:
                out.register_hook(lambda grad: seen.append(current_choices()))
            return [out]

    monkeypatch.setattr(BenchmarkModel, '_assemble', lambda self, *_: (Model(2, 3), (torch.ones(1, 2),)))
    before = current_choices()
    step = parse_model(text).build('backbone', (64, 96), 1)
    step(True)
    step(False)
    assert [tuple(choices.values()) for choices in seen] == [expected] * 3
    assert current_choices() == before
    assert isinstance(parse_model('rest-lite')._choose_libraries(), nullcontext)


@pytest.mark.parametrize(
    'words, broken, library',
    [
        (['rest-lite', 'swin-t'], 'mmdet.models', 'swin-t: this needs mmdet'),
        (['rest-lite', 'convnext-t'], 'mmpretrain.models', 'convnext-t: this needs mmpretrain'),
        (['rest-lite', '--part', 'retinanet'], 'mmdet.models', 'rest-lite: this needs mmdet'),
    ],
)
@pytest.mark.parametrize('kind', [ImportError, RuntimeError])
def test_broken_library_of_a_peer_is_named_before_anything_is_measured(monkeypatch, words, broken, library, kind):
    pytest.importorskip('mmdet')

    def import_module(name):
        if name == broken:
            raise kind('operator torchvision::nms does not exist')

    monkeypatch.setattr(peers, 'import_module', import_module)
    monkeypatch.setattr('mmrest.benchmark.run.describe_machine', lambda *_: pytest.fail('measured'))
    with pytest.raises(UsageError, match=rf'{library}, .*\(operator torchvision::nms .*mmrest doctor'):
        run_benchmark(*words)
