"""Errors of an implementation of attention beside those of the plain formula in the same dtype."""

from __future__ import annotations

from typing import Callable, Iterable, NamedTuple

import torch

from mmrest.benchmark.numerics import NAMES, make_inputs, rms_errors
from mmrest.ops import emsa_reference


class Case(NamedTuple):
    """Sizes and numbers of one comparison."""

    dtype: str  # of torch
    sharpness: float  # factor on the queries
    heads: int
    channels: int
    queries: int
    keys: int


def compare(function: Callable, case: Case, batch: int = 2, draws: int = 2) -> dict[str, tuple[float, float]]:
    """Return root mean square errors of a function and of the formula, for the output and every gradient."""
    found: dict[str, list[tuple[float, float]]] = {name: [] for name in NAMES}
    for seed in range(draws):
        inputs = make_inputs(
            case.sharpness,
            case.keys,
            batch,
            case.heads,
            case.queries,
            case.channels,
            dtype=getattr(torch, case.dtype),
            seed=seed,
        )
        own, plain = rms_errors(function, inputs), rms_errors(emsa_reference, inputs)
        for name in NAMES:
            found[name].append((own[name], plain[name]))
    return {
        name: tuple((sum(pair[i] ** 2 for pair in pairs) / draws) ** 0.5 for i in (0, 1))
        for name, pairs in found.items()
    }


def assert_twice_as_far_at_most(found: dict[str, Iterable[float]]) -> None:
    """Check that errors of :func:`compare` are at most twice those of the formula."""
    for name, (own, plain) in found.items():
        assert own <= 2 * plain, f'{name}: {own:.1e}, the formula {plain:.1e}'
