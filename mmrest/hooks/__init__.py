"""What watches over a run or sets its model up: what is saved, random numbers, the loss, compilation, precision."""
from .invalid_loss import InvalidLossError, InvalidLossHook
from .models import CompileBackboneHook, KeepMMCVInFloat32Hook, keep_mmcv_in_float32
from .randomness import PositionedBatches, RandomStateHook, position_batches
from .saving import WholeCheckpointHook, save_whole_checkpoints

__all__ = [
    'CompileBackboneHook', 'InvalidLossError', 'InvalidLossHook', 'KeepMMCVInFloat32Hook', 'PositionedBatches',
    'RandomStateHook', 'WholeCheckpointHook', 'keep_mmcv_in_float32', 'position_batches', 'save_whole_checkpoints'
]
