"""Choices that depend on the processor, made once a process from what it says of itself, never by a measurement."""

from __future__ import annotations

import os
import platform
from functools import lru_cache
from pathlib import Path

import torch

ENV_FLOAT32 = 'MMREST_CPU_FLOAT32'
ENV_BFLOAT16 = 'MMREST_CPU_BFLOAT16'
# Flags of /proc/cpuinfo on x86 and on Arm.
BFLOAT16_FLAGS = {'amx_bf16', 'avx512_bf16', 'bf16'}


@lru_cache(maxsize=None)
def float32_library() -> str:
    """Return the library for float32 matrix products on the CPU: 'blas' or 'onednn'.

    PyTorch hands matrix products to MKL, which leaves the AVX-512 units of AMD processors idle, and convolutions to
    oneDNN, which does not. On other vendors' processors nothing is gained. The environment variable
    MMREST_CPU_FLOAT32 overrides the choice.

    Raises:
        ValueError: The variable is neither of the two.
    """
    chosen = _choice(ENV_FLOAT32, ('blas', 'onednn'))
    usable = torch.backends.mkldnn.is_available()
    return chosen or ('onednn' if usable and 'AuthenticAMD' in _cpu_text() else 'blas')


@lru_cache(maxsize=None)
def bfloat16_library() -> str:
    """Return the arithmetic of bfloat16 attention on the CPU: 'onednn', or 'float32' for products of widened operands.

    oneDNN is faster where the processor multiplies bfloat16 itself (AMX, AVX512-BF16). The environment variable
    MMREST_CPU_BFLOAT16 overrides the choice.

    Raises:
        ValueError: The variable is neither of the two.
    """
    chosen = _choice(ENV_BFLOAT16, ('float32', 'onednn'))
    usable = torch.backends.mkldnn.is_available()
    return chosen or ('onednn' if usable and BFLOAT16_FLAGS & set(_cpu_text().split()) else 'float32')


def describe_choices() -> str:
    """Return the choices as a line for logs."""
    chosen = {ENV_FLOAT32: float32_library(), ENV_BFLOAT16: bfloat16_library()}
    return f'CPU matrix products, {torch.get_num_threads()} threads: {", ".join(map("=".join, chosen.items()))}'


def _choice(variable: str, values: tuple[str, ...]) -> str | None:
    value = os.environ.get(variable)
    if value and value not in values:
        raise ValueError(f'Unknown value {value!r} of the environment variable {variable}: choose from {values}.')
    return value or None


@lru_cache(maxsize=None)
def _cpu_text() -> str:
    """Return what the system says of the first processor: its vendor and its flags."""
    try:
        return Path('/proc/cpuinfo').read_text(errors='replace').partition('\n\n')[0]
    except OSError:  # not Linux
        return platform.processor()
