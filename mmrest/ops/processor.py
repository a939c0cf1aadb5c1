"""Choices that depend on the processor, made once a process from what it says of itself, never by a measurement."""

from __future__ import annotations

import os
import platform
import re
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path
from typing import Iterator

import torch

ENV_FLOAT32 = 'MMREST_CPU_FLOAT32'
ENV_BFLOAT16 = 'MMREST_CPU_BFLOAT16'
VALUES = {ENV_FLOAT32: ('blas', 'onednn'), ENV_BFLOAT16: ('float32', 'onednn')}
# Flags of /proc/cpuinfo on x86 and on Arm.
BFLOAT16_FLAGS = {'amx_bf16', 'avx512_bf16', 'bf16'}
# Of :func:`cpu_libraries`, in place of the choices of the process.
_overrides: dict[str, str] = {}


def float32_library() -> str:
    """Return the library for float32 matrix products on the CPU: 'blas' or 'onednn'.

    PyTorch hands matrix products to MKL, which leaves the AVX-512 units of AMD processors idle, and convolutions to
    oneDNN, which does not. On other vendors' processors nothing is gained. The environment variable
    MMREST_CPU_FLOAT32 overrides the choice.

    Raises:
        ValueError: The variable is neither of the two.
    """
    return _overrides.get(ENV_FLOAT32) or _float32_choice()


@lru_cache(maxsize=None)
def _float32_choice() -> str:
    usable = torch.backends.mkldnn.is_available()
    return _from_environment(ENV_FLOAT32) or ('onednn' if usable and 'AuthenticAMD' in _cpu_text() else 'blas')


def bfloat16_library() -> str:
    """Return the arithmetic of bfloat16 attention on the CPU: 'onednn', or 'float32' for products of widened operands.

    oneDNN is faster where the processor multiplies bfloat16 itself (AMX, AVX512-BF16). The environment variable
    MMREST_CPU_BFLOAT16 overrides the choice.

    Raises:
        ValueError: The variable is neither of the two.
    """
    return _overrides.get(ENV_BFLOAT16) or _bfloat16_choice()


@lru_cache(maxsize=None)
def _bfloat16_choice() -> str:
    usable = torch.backends.mkldnn.is_available() and BFLOAT16_FLAGS & set(_cpu_text().split())
    return _from_environment(ENV_BFLOAT16) or ('onednn' if usable else 'float32')


@contextmanager
def cpu_libraries(float32: str | None = None, bfloat16: str | None = None) -> Iterator[None]:
    """Choose the libraries of matrix products on the CPU, in all threads, until the context ends.

    Args:
        float32 (str, optional): What :func:`float32_library` returns meanwhile; default: as before.
        bfloat16 (str, optional): What :func:`bfloat16_library` returns meanwhile; default: as before.

    Raises:
        ValueError: Either is not one of its two values.
    """
    global _overrides
    given = {ENV_FLOAT32: float32, ENV_BFLOAT16: bfloat16}
    chosen = {variable: _checked(variable, value) for variable, value in given.items() if value is not None}
    before, _overrides = _overrides, {**_overrides, **chosen}
    try:
        yield
    finally:
        _overrides = before


def current_choices() -> dict[str, str]:
    """Return the libraries in use, by the environment variable that would choose them."""
    return {ENV_FLOAT32: float32_library(), ENV_BFLOAT16: bfloat16_library()}


def describe_choices() -> str:
    """Return the choices as a line for logs."""
    chosen = ', '.join(map('='.join, current_choices().items()))
    return f'CPU matrix products, {torch.get_num_threads()} threads: {chosen}'


def processor_name() -> str:
    """Return the name of the processor, as the system gives it; its architecture where it has no name."""
    match = re.search(r'^model name\s*:[ \t]*(\S.*)$', _cpu_text(), re.MULTILINE)
    return match[1].strip() if match else platform.processor() or platform.machine()


def _from_environment(variable: str) -> str | None:
    value = os.environ.get(variable)
    return _checked(variable, value, 'of the environment variable') if value else None


def _checked(variable: str, value: str, source: str = 'for') -> str:
    if value not in VALUES[variable]:
        raise ValueError(f'Unknown value {value!r} {source} {variable}: choose from {VALUES[variable]}.')
    return value


@lru_cache(maxsize=None)
def _cpu_text() -> str:
    """Return what the system says of the first processor: its vendor and its flags."""
    try:
        return Path('/proc/cpuinfo').read_text(errors='replace').partition('\n\n')[0]
    except OSError:  # not Linux
        return platform.processor()
