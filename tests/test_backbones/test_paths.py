"""Whole backbones with every implementation of attention, recomputed, under autocast, compiled, exported, in DDP."""

import sys

import pytest
import torch
from conftest import run_process
from helpers.compare import find_non_finite_grads
from helpers.tolerances import assert_close_in_std
from torch import nn

from mmrest import ResT, ResTv2
from mmrest.layers import HeadAttention

# The implementation that a size would not choose is forced; float64, so that nothing hides in rounding.
OPTIONS = [
    dict(attn_impl='direct'),
    dict(attn_impl='chunked'),
    dict(ffn_recompute=True),
    dict(with_cp=True),
    dict(with_cp=True, ffn_recompute=True, attn_impl='chunked'),
]


def build_pair(cls, arch, **options):
    """Build a backbone by the plain formula and one with the options, with the same weights."""
    plain, other = cls(arch, attn_impl='reference').double(), cls(arch, **options).double()
    generator = torch.Generator().manual_seed(1)
    state = {
        key: value + 0.2 * torch.rand(value.shape, generator=generator, dtype=value.dtype)
        if value.is_floating_point()
        else value
        for key, value in plain.state_dict().items()
    }
    for model in (plain, other):
        model.load_state_dict(state)
    return plain, other


def backward(model, x):
    outs = model(x)
    sum((out * torch.linspace(-1, 1, out.numel(), dtype=out.dtype).view_as(out)).sum() for out in outs).backward()
    return {key: p.grad for key, p in model.named_parameters()}


@pytest.mark.matrix
@pytest.mark.parametrize('cls', [ResT, ResTv2])
@pytest.mark.parametrize('size', [(64, 96), (33, 70), (1, 1)])
@pytest.mark.parametrize('options', OPTIONS)
def test_backbone_with_any_option_equals_the_formula(tiny, cls, options, size):
    plain, other = build_pair(cls, tiny, **options)
    x = torch.rand(2, 3, *size, dtype=torch.float64)
    assert plain.state_dict().keys() == other.state_dict().keys()
    grads, expected = backward(other.train(), x), backward(plain.train(), x)
    for key, grad in expected.items():
        # Some are zero in exact arithmetic: the mixing bias, or anything that InstanceNorm removes.
        scale = max(grad.abs().max().item(), 1e-3 * max(g.abs().max().item() for g in expected.values()))
        torch.testing.assert_close(
            grads[key], grad, rtol=0, atol=1e-9 * scale, msg=lambda text, key=key: f'{key}: {text}'
        )
    with torch.no_grad():
        inference = other.eval()(x)
    for out, expected in zip(inference, plain.eval()(x)):
        assert not out.requires_grad and expected.requires_grad
        assert_close_in_std(out, expected)


@pytest.mark.parametrize('cls', [ResT, ResTv2])
def test_chunked_inference_in_float32_is_as_accurate_as_the_formula(tiny, cls):
    plain, fast = build_pair(cls, tiny, attn_impl='chunked')
    x = torch.rand(2, 3, 160, 224, dtype=torch.float64)
    exact = plain.eval()(x)
    with torch.no_grad():
        own = fast.float().eval()(x.float())
    stock = plain.float()(x.float())
    for a, b, expected in zip(own, stock, exact):
        a, b = ((out.double() - expected).square().mean() for out in (a, b))
        assert a <= 4 * b


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('options', OPTIONS)
def test_backbone_under_autocast_is_close_to_float32(tiny, options, dtype):
    model = ResT(tiny, **options)
    x = torch.rand(2, 3, 64, 64)
    exact = model.eval()(x)
    with torch.autocast('cpu', dtype=dtype):
        outs = model(x)
        with torch.no_grad():
            inference = model(x)
    sum(out.float().square().mean() for out in outs).backward()
    assert find_non_finite_grads(model) == []
    for out, quick, expected in zip(outs, inference, exact):
        assert (out - expected).abs().mean() < 0.05 and (quick - expected).abs().mean() < 0.05


@pytest.mark.parametrize('dtype', [torch.bfloat16, torch.float16])
@pytest.mark.parametrize('options', OPTIONS)
def test_backbone_in_half_precision_has_finite_gradients(tiny, options, dtype):
    model = ResT(tiny, **options).to(dtype)
    outs = model(torch.rand(2, 3, 64, 64, dtype=dtype))
    sum(out.float().square().mean() for out in outs).backward()
    assert [out.dtype for out in outs] == [dtype] * 4
    assert find_non_finite_grads(model) == []


@pytest.mark.matrix
def test_backbone_gives_every_parameter_a_gradient_and_the_mixing_bias_zero(tiny):
    for impl in ('direct', 'chunked'):
        model = ResT(tiny, attn_impl=impl)
        grads = backward(model, torch.rand(1, 3, 64, 64))
        biases = [grad for key, grad in grads.items() if key.endswith('transform_conv.bias')]
        assert [grad.abs().max().item() for grad in biases] == [0] * 4
        assert find_non_finite_grads(model) == []


def test_chunked_attention_with_map_dropout_takes_the_formula(tiny, monkeypatch):
    module = sys.modules['mmrest.ops.attention']
    monkeypatch.setattr(module, 'emsa_chunked', lambda *_: pytest.fail('has no dropout'))
    model = ResT(tiny, attn_drop_rate=0.3, attn_impl='chunked').train()
    x = torch.rand(1, 3, 64, 64)
    assert not torch.equal(model(x)[-1], model(x)[-1])


def test_attn_impl_argument_overrides_the_environment_variable(tiny, monkeypatch):
    def chosen(**kwargs):
        return {
            m.attn_impl for cls in (ResT, ResTv2) for m in cls(tiny, **kwargs).modules() if isinstance(m, HeadAttention)
        }

    assert chosen() == {'auto'} and chosen(attn_impl='reference') == {'reference'}
    with pytest.raises(ValueError, match="Unknown attn_impl 'flash': choose from auto, reference, direct, chunked"):
        ResT(tiny, attn_impl='flash')
    monkeypatch.setenv('MMREST_ATTN_IMPL', 'direct')
    assert chosen() == {'direct'} and chosen(attn_impl='reference') == {'reference'}


@pytest.mark.parametrize('frozen', [dict(frozen_stages=2), dict(norm_eval=True)])
def test_frozen_backbone_gets_gradients_only_for_trainable_parameters(tiny, frozen):
    model = ResT(tiny, **frozen).train()
    grads = backward(model, torch.rand(1, 3, 64, 64))
    assert [key for key, p in model.named_parameters() if (grads[key] is not None) != p.requires_grad] == []


@pytest.mark.parametrize('options', [dict(attn_impl='chunked'), dict(ffn_recompute=True, with_cp=True)])
def test_compiled_backbone_equals_eager(options):
    arch = dict(embed_dims=(8, 16), depths=(1, 1), num_heads=(1, 2), sr_ratios=(2, 1))
    model = ResT(arch, out_indices=(0, 1), **options)
    x = torch.rand(1, 3, 40, 56)
    torch._dynamo.reset()
    compiled = torch.compile(model, backend='aot_eager')
    expected = backward(model, x)
    model.zero_grad(set_to_none=True)
    outs = compiled(x)
    sum((out * torch.linspace(-1, 1, out.numel()).view_as(out)).sum() for out in outs).backward()
    for key, p in model.named_parameters():
        torch.testing.assert_close(p.grad, expected[key], rtol=1e-3, atol=1e-3)
    model.eval()
    with torch.no_grad():
        for out, plain in zip(compiled(x), model(x)):
            torch.testing.assert_close(out, plain, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize('cls', [ResT, ResTv2])
def test_exported_and_traced_backbone_equal_eager_without_custom_operators(tiny, cls):
    model = cls(tiny, attn_impl='chunked', ffn_recompute=True).eval()
    x = torch.rand(1, 3, 64, 96)
    with torch.no_grad():
        expected = model(x)
        program, traced = torch.export.export(model, (x,)), torch.jit.trace(model, x, check_trace=False)
        assert 'mmrest' not in str(program.graph) and 'mmrest::' not in str(traced.inlined_graph)
        for outs in (program.module()(x), traced(x)):
            for out, plain in zip(outs, expected):
                torch.testing.assert_close(out, plain, rtol=1e-3, atol=1e-4)


PROCESSES = """
import torch, torch.distributed as dist, torch.multiprocessing as mp
from torch.nn.parallel import DistributedDataParallel
from mmrest import ResT
ARCH = dict(embed_dims=(8, 16), depths=(1, 2), num_heads=(1, 2), sr_ratios=(2, 1))

def loss(outs):
    return sum((out * torch.linspace(-1, 1, out[0].numel(), dtype=out.dtype).view_as(out[:1])).sum() for out in outs)

def work(rank, file):
    torch.set_num_threads(1)
    dist.init_process_group('gloo', init_method='file://' + file, rank=rank, world_size=2)
    for options in (dict(attn_impl='chunked'), dict(attn_impl='direct', with_cp=True), dict(ffn_recompute=True)):
        torch.manual_seed(0)
        model = DistributedDataParallel(ResT(ARCH, out_indices=(0, 1), norm_eval=True, **options).double().train())
        x = torch.rand(2, 3, 40, 40, dtype=torch.float64)
        for _ in range(2):  # a parameter without a gradient fails in the second step
            model.zero_grad()
            loss(model(x[rank:rank + 1])).backward()
        grads = [p.grad for p in model.parameters()]
        alone = ResT(ARCH, out_indices=(0, 1), norm_eval=True, attn_impl='reference').double().train()
        alone.load_state_dict(model.module.state_dict())
        (loss(alone(x)) / 2).backward()
        for grad, p in zip(grads, alone.parameters()):
            torch.testing.assert_close(grad, p.grad, rtol=1e-7, atol=1e-9)
    print('done', rank)

if __name__ == '__main__':
    import sys
    mp.start_processes(work, (sys.argv[1], ), nprocs=2, start_method='fork')  # which spares two imports of torch
"""


def test_backbone_in_ddp_needs_no_search_for_unused_parameters(tmp_path, repo):
    (tmp_path / 'work.py').write_text(PROCESSES)
    out = run_process([sys.executable, 'work.py', tmp_path / 'store'], tmp_path, env=_environment(repo))
    assert out.count('done') == 2


def _environment(repo):
    import os

    return {**os.environ, 'PYTHONPATH': str(repo), 'OMP_NUM_THREADS': '1'}


@pytest.mark.parametrize('cls', [ResT, ResTv2])
@pytest.mark.parametrize('size', [(64, 96), (33, 70), (7, 90), (90, 7)])
@pytest.mark.parametrize('with_cp', [False, True])
def test_gradients_of_two_images_equal_the_sum_of_each(tiny, cls, size, with_cp):
    # Layouts that are ambiguous for a single image have led kernels to read gradients in the wrong order.
    model = cls(tiny, norm_eval=True, with_cp=with_cp).double().train()
    weights = [
        torch.randn(1, c, *(-(-n // 2 ** (i + 2)) for n in size), dtype=torch.float64)
        for i, c in enumerate(tiny['embed_dims'])
    ]

    def grads(x):
        model.zero_grad()
        sum((out * weight).sum() for out, weight in zip(model(x), weights)).backward()
        return [p.grad.clone() for p in model.parameters()]

    x = torch.rand(2, 3, *size, dtype=torch.float64)
    for both, first, second in zip(grads(x), grads(x[:1]), grads(x[1:])):
        torch.testing.assert_close(both, first + second, rtol=1e-9, atol=1e-9)


def test_restv2_stem_is_a_stock_sequential(tiny):
    # What tools of OpenMMLab look for: stock layers under the published names.
    model = ResTv2(tiny)
    assert isinstance(model.stem.proj, nn.Sequential) and isinstance(model.stem.proj[0], nn.Conv2d)
