"""Which parts of a model are spread over processes by themselves."""

from __future__ import annotations

from mmengine.registry import FUNCTIONS
from torch import nn

from ...layers import TransformerBlock


@FUNCTIONS.register_module()
def wrap_transformer_blocks(module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    """A policy for FullyShardedDataParallel: every block of a backbone of this package is a unit, the rest is one.

    Heads of detectors cannot be units: what is called of them is ``loss`` or ``predict``, and FSDP gathers the
    parameters of a unit when its ``forward`` is called.

    Args:
        module (nn.Module): A part of the model.
        recurse (bool): Asked whether to look into it, rather than whether it is a unit.
        nonwrapped_numel (int): Its parameters outside of units; of no importance here.
    """
    return recurse or isinstance(module, TransformerBlock)
