"""Run attention through Triton's interpreter, and print what was found as JSON; a process of its own.

The interpreter is chosen when Triton is imported, so a process either interprets kernels or compiles them.
"""

import json
import os
import sys
import traceback

os.environ['TRITON_INTERPRET'] = '1'

import torch  # noqa: E402

from helpers.attention_errors import Case, compare  # noqa: E402
from mmrest.ops import emsa, emsa_chunked, emsa_reference, triton_rows  # noqa: E402
from mmrest.ops.products import padded  # noqa: E402


class Kernels:
    """Counts the launches of a block of code, so that a fallback cannot pass for the kernels."""

    def __enter__(self):
        self.launch, self.names = triton_rows.TritonSteps.launch, []

        def launch(steps, name, *args):
            self.names.append(name)
            self.launch(steps, name, *args)

        triton_rows.TritonSteps.launch = launch
        return self

    def __exit__(self, *_):
        triton_rows.TritonSteps.launch = self.launch


def find_errors(case: Case) -> dict:
    """Return errors as :func:`compare` does, with two blocks of rows and uninitialized memory full of NaN.

    In one draw of a few rows luck decides by a factor of two: where it speaks against the kernels, eight are taken.
    """
    elements = -(-case.queries // 2) * case.heads * padded(case.keys)

    def attend(*args):
        return emsa_chunked(*args, block_elements=elements, form='triton')

    torch.use_deterministic_algorithms(True)
    with Kernels() as kernels:
        found = compare(attend, case, batch=1, draws=1)
    assert kernels.names == ['maps_kernel'] * 2 + ['grads_kernel'] * 2, kernels.names
    if any(own > 2 * plain for own, plain in found.values()):
        found = compare(attend, case, batch=1, draws=8)
    torch.use_deterministic_algorithms(False)
    return found


def check_operators() -> None:
    """Check what surrounds the kernels: the operators, the switch, autocast, checkpoints and torch.compile."""
    torch.manual_seed(0)
    shapes = [(2, 2, 5, 4), (2, 2, 6, 4), (2, 2, 6, 4), (2, 2), (2,)]
    inputs = [torch.randn(shape, requires_grad=True) for shape in shapes]
    operator = torch.ops.mmrest.emsa_chunked.default
    torch.library.opcheck(operator, (*inputs, 1e-5, 40, 'triton'))
    exact = torch.autograd.grad(emsa_reference(*inputs).square().sum(), inputs[:4])

    def attend(*args):
        return emsa(*args, impl='triton')

    compiled = torch.compile(attend, backend='aot_eager', fullgraph=True)
    for function in (attend, compiled, lambda *a: torch.utils.checkpoint.checkpoint(attend, *a, use_reentrant=False)):
        with Kernels() as kernels:
            grads = torch.autograd.grad(function(*inputs).square().sum(), inputs)
        assert {'maps_kernel', 'grads_kernel'} == set(kernels.names)
        for own, expected in zip(grads, exact):
            torch.testing.assert_close(own, expected, rtol=1e-4, atol=1e-5)
        assert torch.equal(grads[-1], torch.zeros(2))
    with torch.autocast('cpu', dtype=torch.bfloat16), Kernels() as kernels:
        out = attend(*inputs)
        out.float().sum().backward()
    assert out.dtype == torch.bfloat16 and kernels.names == ['maps_kernel', 'grads_kernel']
    assert {x.grad.dtype for x in inputs} == {torch.float32}
    # No kernel for what they cannot do: three heads, float64, no mixing.
    with Kernels() as kernels:
        emsa(*(torch.randn(1, 3, n, 4) for n in (5, 6, 6)), torch.eye(3), impl='triton')
        emsa(*(x.double() for x in inputs), impl='triton')
        emsa(*inputs[:3], impl='triton')
    assert not kernels.names


if __name__ == '__main__':
    torch.set_num_threads(1)
    imports_triton = 'triton' in sys.modules
    faults = ''
    try:
        check_operators()
    except Exception:
        faults = traceback.format_exc()
    errors = [find_errors(Case(*case)) for case in json.loads(sys.argv[1])]
    print(json.dumps(dict(errors=errors, faults=faults, imports_triton=imports_triton)))
