"""Single cases of part 1: overflow in float16, kernels that attention without mixing reaches, compute-sanitizer."""

from __future__ import annotations

import functools
import itertools
import shutil
import subprocess
import sys
from pathlib import Path

import torch

from mmrest.ops import emsa, emsa_reference
from mmrest.ops.triton_rows import runs_kernels

from .cases import Case, Skip, first_line, need_gpu
from .results import Settings

SANITIZER_SECONDS = 25
SANITIZER_ERROR = 9  # exit status where it has found something


def special_cases(settings: Settings, impls: list[str]) -> list[Case]:
    """Return the cases."""
    return [
        Case('kernels of Triton', functools.partial(check_triton, settings)),
        *(Case(f'overflow {impl} fp16', functools.partial(check_overflow, settings, impl)) for impl in impls),
        *(
            Case(f'no mixing, kernels, {name}', functools.partial(check_kernels, settings, dtype))
            for name, dtype in (('bf16', torch.bfloat16), ('fp16', torch.float16))
        ),
    ]


def sanitizer_case(settings: Settings) -> Case:
    """Return the case of compute-sanitizer."""
    return Case('compute-sanitizer', functools.partial(sanitize, settings), seconds=10, limit=SANITIZER_SECONDS + 10)


def check_triton(settings: Settings) -> dict:
    """Check that impl='triton' has its kernels here; without them it is the chunked form, with no word of it."""
    need_gpu(settings, "impl='triton'")
    kinds = itertools.product((2, 4, 8), (torch.float32, torch.bfloat16, torch.float16))
    lacking = [
        f'{heads} heads in {dtype}'
        for heads, dtype in kinds
        if not runs_kernels(torch.empty(1, heads, 1, 64, device=settings.device, dtype=dtype), heads)
    ]
    problems = [f'chunked takes the place of the kernels for {", ".join(lacking)}'] if lacking else []
    return dict(problems=problems, summary='2, 4 and 8 heads in all precisions')


def check_overflow(settings: Settings, impl: str) -> dict:
    """Let 8000 queries look at one key in float16, whose gradient of a value is a sum of thousands."""
    n, keys, channels = 8000, 32, 64
    generator = torch.Generator().manual_seed(0)
    q, k = torch.ones(1, 2, n, channels), torch.zeros(1, 2, keys, channels)
    k[:, :, 0] = 4.0
    v = torch.randn(1, 2, keys, channels, generator=generator)
    grad = torch.full_like(q, 0.05)
    found = {}
    for name, function, dtype in (
        ('exact', emsa_reference, torch.float64),
        ('own', functools.partial(emsa, impl=impl), torch.float16),
    ):
        # Rounded to float16 in both, so that the exact one has the same inputs.
        inputs = [x.half().to(settings.device, dtype).requires_grad_() for x in (q, k, v)]
        out = function(*inputs, torch.eye(2, device=settings.device, dtype=dtype))
        found[name] = torch.autograd.grad(out, inputs, grad.half().to(out))[2].double()
    exact, own = (found[name][0, 0, 0, 0].item() for name in ('exact', 'own'))
    good = abs(own - exact) <= 0.01 * abs(exact) and bool(torch.isfinite(found['own']).all())
    text = f'gradient of the value {own:.1f}, exact {exact:.1f}'
    return dict(own=str(own), exact=exact, summary=text, problems=[] if good else [text])


def check_kernels(settings: Settings, dtype: torch.dtype) -> dict:
    """Find the kernels of PyTorch's attention that take what the layers give them, for heads of 64 and 96 channels."""
    need_gpu(settings, 'the choice of kernels')
    from torch.nn.attention import SDPBackend, sdpa_kernel

    found, problems = {}, []
    for channels in (64, 96):
        # As linear layers give them: heads are strides, and keys and values are halves of one tensor.
        tokens = torch.randn(2, 1000, 4 * channels, device=settings.device, dtype=dtype)
        pairs = torch.randn(2, 260, 8 * channels, device=settings.device, dtype=dtype)
        q, k, v = (
            x.unflatten(-1, (4, -1)).transpose(1, 2).detach().requires_grad_()
            for x in (tokens, *pairs.chunk(2, dim=-1))
        )
        kernels = []
        for backend in (SDPBackend.FLASH_ATTENTION, SDPBackend.EFFICIENT_ATTENTION, SDPBackend.CUDNN_ATTENTION):
            try:
                with sdpa_kernel([backend]):
                    emsa(q, k, v).sum().backward()
                kernels.append(backend.name)
            except RuntimeError:  # this is how it says that a kernel does not take the inputs
                continue
        found[str(channels)] = kernels
        if not {'FLASH_ATTENTION', 'EFFICIENT_ATTENTION'} & set(kernels):
            problems.append(f'{channels} channels of a head reach neither flash nor efficient attention')
    summary = ', '.join(f'{key} channels: {" ".join(names).lower()}' for key, names in found.items())
    return dict(kernels=found, problems=problems, summary=summary.replace('_attention', ''))


def sanitize(settings: Settings) -> dict:
    """Run all implementations once, at a small size, under compute-sanitizer's memory check."""
    need_gpu(settings, 'compute-sanitizer')
    tool = shutil.which('compute-sanitizer') or '/usr/local/cuda/bin/compute-sanitizer'
    if not Path(tool).is_file():
        raise Skip('there is no compute-sanitizer')
    options = ['--tool', 'memcheck', '--error-exitcode', str(SANITIZER_ERROR)]
    command = [tool, *options, sys.executable, '-W', 'ignore', '-m', 'gpu_checks.small_case', settings.device]
    # Unlike that of subprocess, this limit ends the processes that the tool starts as well.
    command = ['timeout', '--kill-after=1', str(SANITIZER_SECONDS), *command]
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    if result.returncode in (124, 137):
        raise Skip(f'compute-sanitizer takes more than {SANITIZER_SECONDS} s here')
    if result.returncode == 0:
        return dict(summary='no error')
    lines = [line for line in result.stdout.splitlines() if line.strip()]
    if result.returncode == SANITIZER_ERROR:
        own = [line for line in lines if 'ERROR SUMMARY' in line] or lines[-1:]
        return dict(output=result.stdout[-4000:], problems=[own[-1].strip('= ')])
    raise Skip(f'compute-sanitizer does not run here: {first_line(RuntimeError(lines[-1] if lines else "no output"))}')
