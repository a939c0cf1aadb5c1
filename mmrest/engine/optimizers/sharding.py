"""Auto-wrap policy for FullyShardedDataParallel."""

from __future__ import annotations

from mmengine.registry import FUNCTIONS
from torch import nn

from ...layers import TransformerBlock


@FUNCTIONS.register_module()
def wrap_transformer_blocks(module: nn.Module, recurse: bool, nonwrapped_numel: int) -> bool:
    """Wrap every transformer block of a backbone in an FSDP unit of its own; the rest of the model is one unit.

    Heads of detectors cannot be units: runners call their ``loss`` or ``predict``, but FSDP gathers the parameters of
    a unit in ``forward``.

    Args:
        module (nn.Module): Module of the model.
        recurse (bool): True if FSDP asks to recurse into the module, False if it asks to wrap it.
        nonwrapped_numel (int): Number of its parameters outside of units; not used.
    """
    return recurse or isinstance(module, TransformerBlock)
