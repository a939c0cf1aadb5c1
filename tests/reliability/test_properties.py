"""Properties that hold for every architecture, size, batch and switch, tried on random ones."""

import copy
import io

import pytest
import torch

pytest.importorskip('hypothesis')

from helpers.compare import assert_equal, find_non_finite  # noqa: E402
from hypothesis import HealthCheck, event, given, settings  # noqa: E402
from hypothesis import strategies as st  # noqa: E402

from mmrest import ResTAblation, ResTv2  # noqa: E402

# The same examples at every run: a failure here must not come and go.
quick = settings(
    max_examples=30, deadline=None, derandomize=True, database=None, suppress_health_check=list(HealthCheck)
)
long = settings(quick, max_examples=400)

SIZES = st.tuples(st.integers(1, 70), st.integers(1, 70))


@st.composite
def archs(draw) -> dict:
    """Two to four stages; heads divide the channels, as they must."""
    stages = draw(st.integers(2, 4))
    heads = [draw(st.sampled_from([1, 2, 3, 4])) for _ in range(stages)]
    return dict(
        embed_dims=tuple(k * draw(st.sampled_from([4, 8])) for k in heads),
        depths=tuple(draw(st.integers(1, 2)) for _ in heads),
        num_heads=tuple(heads),
        sr_ratios=tuple(draw(st.sampled_from([1, 2, 4, 8])) for _ in heads),
    )


@st.composite
def backbones(draw) -> tuple:
    """A class, its architecture, and arguments that any of its kind takes."""
    cls, arch = draw(st.sampled_from([ResTAblation, ResTv2])), draw(archs())
    stages = len(arch['depths'])
    kwargs = dict(
        out_indices=tuple(sorted(draw(st.sets(st.integers(0, stages - 1), min_size=1)))),
        out_norm=draw(st.sampled_from(['branch', 'trunk', 'none'])),
        frozen_stages=draw(st.integers(-1, stages)),
        with_cp=draw(st.booleans()),
        ffn_recompute=draw(st.booleans()),
        attn_impl=draw(st.sampled_from(['auto', 'reference', 'direct', 'chunked'])),
    )
    if cls is ResTv2:
        kwargs.update(
            style=draw(st.sampled_from(['global', 'win', 'cwin', 'hwin'])),
            window_sizes=tuple(draw(st.sampled_from([2, 3, 7])) for _ in range(stages)),
        )
    else:
        kwargs.update(
            position=draw(st.sampled_from(['pa', 'gl', 'gl_dw', 'le', 'none'])),
            head_interaction=draw(st.sampled_from(['conv+in', 'conv', 'none'])),
            stem=draw(st.sampled_from(['rest', 'resnet', 'pvt'])),
        )
    event(cls.__name__)
    return cls, arch, kwargs


def check_shapes_and_gradients(backbone: tuple, size: tuple, batch: int, dtype: torch.dtype) -> None:
    cls, arch, kwargs = backbone
    torch.manual_seed(0)
    model = cls(arch, **kwargs).to(dtype).train()
    outs = model(torch.rand(batch, 3, *size, dtype=dtype))
    assert [tuple(out.shape) for out in outs] == [
        (batch, arch['embed_dims'][i], *(-(-n // 2 ** (i + 2)) for n in size)) for i in kwargs['out_indices']
    ]
    assert model.out_channels == tuple(out.shape[1] for out in outs)
    assert {out.dtype for out in outs} == {dtype} and find_non_finite(outs) == []
    if any(out.requires_grad for out in outs):
        sum(out.float().square().mean() for out in outs).backward()
    for name, p in model.named_parameters():
        assert (p.grad is not None) == p.requires_grad, name
        assert p.grad is None or p.grad.isfinite().all(), name


def check_paths_agree(backbone: tuple, size: tuple, batch: int) -> None:
    cls, arch, kwargs = backbone
    torch.manual_seed(0)
    fast = cls(arch, **kwargs).double().eval()
    plain = cls(arch, **{**kwargs, 'attn_impl': 'reference', 'with_cp': False, 'ffn_recompute': False}).double().eval()
    plain.load_state_dict(fast.state_dict())
    x = torch.rand(batch, 3, *size, dtype=torch.float64)
    with torch.no_grad():
        for a, b in zip(fast(x), plain(x)):
            # Where all values are alike, rounding of what they come from is all there is.
            scale = b.std(unbiased=False).clamp(min=1e-3 * b.abs().max() + 1e-12)
            torch.testing.assert_close(a, b, rtol=0, atol=1e-9 * scale.item())


def check_saved_is_loaded(backbone: tuple, size: tuple) -> None:
    cls, arch, kwargs = backbone
    torch.manual_seed(1)
    model = cls(arch, **kwargs).eval()
    file = io.BytesIO()
    torch.save(model.state_dict(), file)
    file.seek(0)
    state = torch.load(file, weights_only=True)
    torch.manual_seed(2)
    other = cls(arch, **kwargs).eval()
    assert other.load_state_dict(copy.copy(state)).missing_keys == []
    assert_equal(dict(other.state_dict()), dict(state))
    x = torch.rand(1, 3, *size)
    with torch.no_grad():
        assert_equal(model(x), other(x))


@quick
@given(backbones(), SIZES, st.integers(1, 3), st.sampled_from([torch.float32, torch.float64, torch.bfloat16]))
def test_backbone_random_arch_has_right_shapes_and_finite_gradients(backbone, size, batch, dtype):
    check_shapes_and_gradients(backbone, size, batch, dtype)


@quick
@given(backbones(), SIZES, st.integers(1, 3))
def test_backbone_random_arch_equals_the_reference_path(backbone, size, batch):
    check_paths_agree(backbone, size, batch)


@quick
@given(backbones(), SIZES)
def test_backbone_random_arch_saved_and_loaded_is_equal(backbone, size):
    check_saved_is_loaded(backbone, size)


@pytest.mark.reliability
@long
@given(
    backbones(),
    SIZES,
    st.integers(1, 3),
    st.sampled_from([torch.float32, torch.float64, torch.bfloat16, torch.float16]),
)
def test_backbone_many_archs_have_right_shapes_and_finite_gradients(backbone, size, batch, dtype):
    check_shapes_and_gradients(backbone, size, batch, dtype)


@pytest.mark.reliability
@long
@given(backbones(), SIZES, st.integers(1, 3))
def test_backbone_many_archs_equal_the_reference_path(backbone, size, batch):
    check_paths_agree(backbone, size, batch)


@pytest.mark.reliability
@long
@given(backbones(), SIZES)
def test_backbone_many_archs_saved_and_loaded_are_equal(backbone, size):
    check_saved_is_loaded(backbone, size)
