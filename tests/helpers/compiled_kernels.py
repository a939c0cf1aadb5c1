"""Compile Triton's kernels for a GPU that need not be there, and print what they take as JSON.

``ptxas`` and ``cuobjdump`` come with Triton. Run as a script with capabilities, dtypes of operands and numbers of
heads: ``compiled_kernels.py 80,90 bf16,fp32 2,4,8``.
"""

import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import triton
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource

from mmrest.ops.triton_rows import TILES, load_kernels

TOOLS = Path(triton.__file__).parent / 'backends/nvidia/bin'
OPERANDS = ('maps_ptr', 'grad_logits_ptr')


def run_tool(name: str, *args: str) -> str:
    # Whether a report goes to one stream or the other depends on the tool.
    result = subprocess.run([str(TOOLS / name), *args], capture_output=True, text=True, check=True)
    return result.stdout + result.stderr


def build(kernel, capability: int, dtype: str, heads: int):
    """Compile a kernel with the tile that is shipped, as for the arguments it gets: columns a multiple of 16."""
    tile, warps = TILES[heads]
    constants = dict(HEADS=heads, TILE=tile)
    signature, attributes = {}, {}
    for index, name in enumerate(kernel.arg_names):
        if name in constants:
            signature[name] = 'constexpr'
        elif name.endswith('_ptr'):
            signature[name] = '*' + (dtype if name in OPERANDS else 'fp32')
        else:
            signature[name] = 'fp32' if name == 'scale' else 'i32'
        if name.endswith('_ptr') or name == 'columns':
            attributes[(index,)] = [['tt.divisibility', 16]]
    source = ASTSource(fn=kernel, signature=signature, constexprs=constants, attrs=attributes)
    return triton.compile(source, target=GPUTarget('cuda', capability, 32), options=dict(num_warps=warps))


def measure(kernel, capability: int, dtype: str, heads: int) -> dict:
    """Return registers of a thread, spilled bytes, shared memory, and numbers of wide and of all loads and stores."""
    built = build(kernel, capability, dtype, heads)
    with tempfile.TemporaryDirectory() as folder:
        ptx, cubin = Path(folder, 'kernel.ptx'), Path(folder, 'kernel.cubin')
        ptx.write_text(built.asm['ptx'])
        cubin.write_bytes(built.asm['cubin'])
        target = re.search(r'\.target (sm_\w+)', built.asm['ptx']).group(1)
        # An assembler of its own for Blackwell comes with some releases of Triton.
        new = capability >= 100 and (TOOLS / 'ptxas-blackwell').exists()
        report = run_tool(
            'ptxas-blackwell' if new else 'ptxas',
            '-v',
            f'--gpu-name={target}',
            str(ptx),
            '-o',
            str(Path(folder, 'out')),
        )
        code = run_tool('cuobjdump', '-sass', str(cubin))
    spills = re.search(r'(\d+) bytes spill stores, (\d+) bytes spill loads', report).groups()
    return dict(
        kernel=kernel.__name__,
        capability=capability,
        dtype=dtype,
        heads=heads,
        registers=int(re.search(r'Used (\d+) registers', report).group(1)),
        spilled=sum(map(int, spills)),
        shared=built.metadata.shared,
        wide_loads=len(re.findall(r'LDG\.E\.128', code)),
        loads=len(re.findall(r'LDG\.', code)),
        wide_stores=len(re.findall(r'STG\.E\.128', code)),
        stores=len(re.findall(r'STG\.', code)),
    )


if __name__ == '__main__':
    kernels = load_kernels()
    capabilities, dtypes, numbers = (text.split(',') for text in sys.argv[1:])
    found = [
        measure(kernel, int(capability), dtype, int(heads))
        for capability in capabilities
        for dtype in dtypes
        for heads in numbers
        for kernel in (kernels.maps_kernel, kernels.grads_kernel)
    ]
    print(json.dumps(found))
