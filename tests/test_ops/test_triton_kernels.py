"""Triton's kernels compiled for GPUs that need not be there, with the tiles that are shipped."""

import json
import os
import sys

import pytest
from conftest import REPO, run_process

# Bytes of shared memory that one program may have without asking for more.
MAX_SHARED = 48 * 1024


def compile_kernels(capabilities: str, dtypes: str, heads: str) -> list[dict]:
    """Resources of the kernels, compiled in another process: earlier tests may have chosen the interpreter here."""
    pytest.importorskip('triton', reason='triton is not installed')
    env = dict(os.environ, PYTHONPATH=str(REPO))
    env.pop('TRITON_INTERPRET', None)
    script = REPO / 'tests/helpers/compiled_kernels.py'
    output = run_process([sys.executable, '-W', 'ignore', script, capabilities, dtypes, heads], REPO, env, timeout=900)
    return json.loads(output.splitlines()[-1])


def assert_good_code(found: list[dict]) -> None:
    for kernel in found:
        assert kernel['spilled'] == 0, kernel
        assert kernel['shared'] <= MAX_SHARED, kernel
        # All but those of the weights, of the constants of a row and of the norms.
        assert kernel['wide_loads'] >= kernel['loads'] - 4 and kernel['wide_loads'] >= 3, kernel
        assert kernel['wide_stores'] == kernel['stores'] - 1, kernel


def test_compiled_code_has_no_spills_and_wide_loads():
    found = compile_kernels('90', 'bf16', '2,4,8')
    assert len(found) == 6
    assert_good_code(found)


@pytest.mark.slow
@pytest.mark.parametrize('capability', ['80', '90', '100', '120'])
def test_compiled_code_of_other_gpus(capability):
    assert_good_code(compile_kernels(capability, 'bf16,fp16,fp32', '2,4,8'))
