"""Fast paths of layers: the rule that they follow, and the switch that turns all of them off.

The rule: a fast path computes what the modules would compute, so it is taken only while each module that it bypasses
is an unmodified layer of torch without hooks (:func:`~mmrest.ops.is_stock`), and no graph is being recorded. These are
fast paths: linear layers as 1x1 convolutions (:mod:`mmrest.ops.linear`) and feed-forward networks by blocks of tokens
(:mod:`mmrest.ops.ffn`). The implementation of the attention is another choice, see :func:`mmrest.ops.emsa`.
"""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import Iterator

ENV_FAST_PATHS = 'MMREST_FAST_PATHS'
_enabled = os.environ.get(ENV_FAST_PATHS, '') != '0'


def fast_paths_enabled() -> bool:
    """Tell whether fast paths may be taken. ``MMREST_FAST_PATHS=0`` in the environment turns them off."""
    return _enabled


@contextmanager
def fast_paths(enabled: bool) -> Iterator[None]:
    """Turn the fast paths of all backbones on or off, in all threads, until the context ends.

    Args:
        enabled (bool): Whether to take them.
    """
    global _enabled
    before, _enabled = _enabled, enabled
    try:
        yield
    finally:
        _enabled = before
