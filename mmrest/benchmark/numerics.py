"""Rounding errors of the implementations of EMSA, as a table: ``python -m mmrest.benchmark.numerics``."""

from __future__ import annotations

import argparse
from typing import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from ..ops import emsa_chunked, emsa_direct, emsa_reference
from .report import format_table

PATHS = {'reference': emsa_reference, 'direct': emsa_direct, 'chunked': emsa_chunked}
# Without mixing of heads, as in stage 1 of ResT and everywhere in ResTv2.
PATHS_WITHOUT_MIXING = {
    'reference': emsa_reference,
    'chunked': emsa_chunked,
    'stock sdpa': F.scaled_dot_product_attention,
}
# Factors of the queries: almost uniform attention, as at initialization; usual; and almost one-hot.
SHARPNESS = {'flat': 0.02, 'usual': 1.0, 'sharp': 15.0}
KEYS = {'few keys': 6, 'many keys': 320}
NAMES = ('out', 'q', 'k', 'v', 'mix_weight')


def make_inputs(
    sharpness: float,
    keys: int,
    batch: int = 2,
    heads: int = 4,
    queries: int = 384,
    channels: int = 16,
    dtype: torch.dtype = torch.float64,
    mixing: bool = True,
    seed: int = 0,
) -> list[Tensor]:
    """Return random q, k, v, with ``mixing`` mix_weight and mix_bias, and a gradient of the output.

    Args:
        sharpness (float): Factor of the queries; a value of :data:`SHARPNESS`.
        keys (int): Number of keys.
        batch (int): Number of images.
        heads (int): Number of heads.
        queries (int): Number of queries.
        channels (int): Channels of a head.
        dtype (torch.dtype): The values are drawn in float64 and rounded to it.
        mixing (bool): Draw the weight and bias of the 1x1 convolution across heads.
        seed (int): Seed of the generator.

    Returns:
        list[Tensor]: q (B, k, n, d), k and v (B, k, n', d) with a mean other than zero, as in trained networks,
        mix_weight (k, k), mix_bias (k,), and the gradient (B, k, n, d).
    """
    generator = torch.Generator().manual_seed(seed)

    def draw(*shape):
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    q = sharpness * draw(batch, heads, queries, channels)
    k, v = (draw(batch, heads, keys, channels) + 0.5 for _ in range(2))
    mix = [draw(heads, heads), draw(heads)] if mixing else []
    return [x.to(dtype) for x in (q, k, v, *mix, draw(*q.shape))]


def output_and_gradients(function: Callable[..., Tensor], inputs: list[Tensor]) -> list[Tensor]:
    """Return the output and the gradients of q, k, v and, with mixing, mix_weight."""
    *args, grad = inputs
    args = [x.detach().requires_grad_() for x in args]
    out = function(*args)
    return [out.detach(), *torch.autograd.grad(out, args[:4], grad)]


def rms_errors(function: Callable[..., Tensor], inputs: list[Tensor]) -> dict[str, float]:
    """Return the root mean square errors of output and gradients against the formula in float64.

    Each is relative to the standard deviation of the exact values. The exact values are those for the inputs after
    rounding to their dtype.
    """
    exact = output_and_gradients(emsa_reference, [x.double() for x in inputs])
    own = output_and_gradients(function, inputs)
    return {name: ((a.double() - b).square().mean().sqrt() / b.std()).item() for name, a, b in zip(NAMES, own, exact)}


def mean_rms_errors(
    function: Callable[..., Tensor],
    sharpness: float,
    keys: int,
    dtype: torch.dtype,
    mixing: bool = True,
    draws: int = 4,
) -> dict[str, float]:
    """Return the root mean square of :func:`rms_errors` over several draws, which differ by up to a factor of 2."""
    found = [
        rms_errors(function, make_inputs(sharpness, keys, dtype=dtype, mixing=mixing, seed=seed))
        for seed in range(draws)
    ]
    return {name: (sum(one[name] ** 2 for one in found) / draws) ** 0.5 for name in found[0]}


def main() -> None:
    """Print the table of all dtypes, sharpnesses, numbers of keys and implementations."""
    argparse.ArgumentParser(description=__doc__).parse_args()
    rows = []
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        for sharpness in SHARPNESS:
            for keys in KEYS:
                for mixing, paths in ((True, PATHS), (False, PATHS_WITHOUT_MIXING)):
                    for path, function in paths.items():
                        if function is emsa_reference and dtype == torch.float64:
                            continue  # the reference of all errors
                        found = mean_rms_errors(function, SHARPNESS[sharpness], KEYS[keys], dtype, mixing)
                        found = {name: f'{error:.1e}' for name, error in found.items()}
                        rows.append(
                            dict(
                                dtype=str(dtype)[6:],
                                attention=f'{sharpness}, {keys}',
                                path=path if mixing else f'{path}, no mixing',
                                **found,
                            )
                        )
    print(format_table(rows, ('dtype', 'attention', 'path', *NAMES), text_columns=3))


if __name__ == '__main__':
    main()
