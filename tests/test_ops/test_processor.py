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
    forget_choices()
    yield
    monkeypatch.undo()
    forget_choices()


def forget_choices():
    processor._float32_choice.cache_clear()
    processor._bfloat16_choice.cache_clear()


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
        forget_choices()
        assert choose() == value
    monkeypatch.setenv(name, 'mkl')
    forget_choices()
    with pytest.raises(ValueError, match=f"'mkl' of the environment variable {name}"):
        choose()


@pytest.mark.parametrize('name, values', [('float32', ('blas', 'onednn')), ('bfloat16', ('float32', 'onednn'))])
def test_libraries_are_those_of_the_context_until_it_ends(monkeypatch, name, values):
    choose = getattr(processor, f'{name}_library')
    other = processor.bfloat16_library if name == 'float32' else processor.float32_library
    before = choose(), other()
    with processor.cpu_libraries(**{name: values[0]}):
        assert (choose(), other()) == (values[0], before[1])
        with processor.cpu_libraries(**{name: values[1]}):
            assert choose() == values[1] == processor.current_choices()[f'MMREST_CPU_{name.upper()}']
        with pytest.raises(KeyError), processor.cpu_libraries():
            assert choose() == values[0]
            raise KeyError
        assert choose() == values[0]
        with pytest.raises(ValueError, match="'mkl' for MMREST_CPU_"), processor.cpu_libraries(**{name: 'mkl'}):
            pass
    assert (choose(), other()) == before


@pytest.mark.parametrize(
    'text, name',
    [
        (
            'processor\t: 0\nmodel name\t: AMD EPYC 9755 128-Core Processor \nflags\t: fpu',
            'AMD EPYC 9755 128-Core Processor',
        ),
        (ARM, 'aarch64'),
        ('model name\t: \nflags\t: fpu', 'aarch64'),
    ],
)
def test_processor_has_the_name_that_the_system_gives_it(monkeypatch, text, name):
    monkeypatch.setattr(processor, '_cpu_text', lambda: text)
    monkeypatch.setattr(processor.platform, 'processor', lambda: '')
    monkeypatch.setattr(processor.platform, 'machine', lambda: 'aarch64')
    assert processor.processor_name() == name
