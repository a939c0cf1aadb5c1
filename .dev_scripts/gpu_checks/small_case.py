"""Each implementation of the attention once, forward and backward, at a small ragged size: for compute-sanitizer."""

from __future__ import annotations

import functools
import sys

import torch

from mmrest.benchmark.numerics import make_inputs, output_and_gradients
from mmrest.ops import emsa

from .models import CHECKED_IMPLS


def main() -> None:
    """Run them on the device that the command line names."""
    if sys.argv[1].startswith('cuda'):
        torch.cuda.set_device(sys.argv[1])
    for impl in CHECKED_IMPLS:
        for dtype in (torch.float32, torch.bfloat16):
            inputs = make_inputs(1.0, 37, heads=4, queries=101, channels=64, dtype=dtype)
            output_and_gradients(functools.partial(emsa, impl=impl), [x.to(sys.argv[1]) for x in inputs])
    if sys.argv[1].startswith('cuda'):
        torch.cuda.synchronize()


if __name__ == '__main__':
    main()
