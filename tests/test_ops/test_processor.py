"""Choices by processor: from what it says of itself, or from the environment."""

import pytest

from mmrest.ops import processor

AMD = 'vendor_id\t: AuthenticAMD\nflags\t\t: fpu sse2 avx512f avx512_bf16'
OLD_AMD = 'vendor_id\t: AuthenticAMD\nflags\t\t: fpu sse2 avx2'
INTEL = 'vendor_id\t: GenuineIntel\nflags\t\t: fpu amx_bf16 amx_tile'
ARM = 'CPU implementer\t: 0x41\nFeatures\t: fp asimd bf16'


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    """Choices are made anew, without what the environment of the tests says."""
    for name in (processor.ENV_FLOAT32, processor.ENV_BFLOAT16):
        monkeypatch.delenv(name, raising=False)
    for function in (processor.float32_library, processor.bfloat16_library):
        function.cache_clear()
    yield
    monkeypatch.undo()
    for function in (processor.float32_library, processor.bfloat16_library):
        function.cache_clear()


@pytest.mark.parametrize(
    'text, float32, bfloat16',
    [
        (AMD, 'onednn', 'onednn'),
        (OLD_AMD, 'onednn', 'float32'),
        (INTEL, 'blas', 'onednn'),
        (ARM, 'blas', 'onednn'),
        ('', 'blas', 'float32'),
    ],
)
def test_vendor_and_flags_decide(monkeypatch, text, float32, bfloat16):
    monkeypatch.setattr(processor, '_cpu_text', lambda: text)
    assert (processor.float32_library(), processor.bfloat16_library()) == (float32, bfloat16)
    line = processor.describe_choices()
    assert f'MMREST_CPU_FLOAT32={float32}' in line and f'MMREST_CPU_BFLOAT16={bfloat16}' in line


def test_without_onednn_nothing_is_chosen_that_needs_it(monkeypatch):
    monkeypatch.setattr(processor, '_cpu_text', lambda: AMD)
    monkeypatch.setattr(processor.torch.backends.mkldnn, 'is_available', lambda: False)
    assert (processor.float32_library(), processor.bfloat16_library()) == ('blas', 'float32')


@pytest.mark.parametrize(
    'variable, values', [('ENV_FLOAT32', ('blas', 'onednn')), ('ENV_BFLOAT16', ('float32', 'onednn'))]
)
def test_environment_overrides_and_is_checked(monkeypatch, variable, values):
    name = getattr(processor, variable)
    choose = processor.float32_library if variable == 'ENV_FLOAT32' else processor.bfloat16_library
    for value in values:
        monkeypatch.setenv(name, value)
        choose.cache_clear()
        assert choose() == value
    monkeypatch.setenv(name, 'mkl')
    choose.cache_clear()
    with pytest.raises(ValueError, match=f"'mkl' of the environment variable {name}"):
        choose()
