"""What watches over a run while it trains: what it saves, its random numbers, its loss."""
from .invalid_loss import InvalidLossError, InvalidLossHook
from .randomness import PositionedBatches, RandomStateHook, position_batches
from .saving import WholeCheckpointHook, save_whole_checkpoints

__all__ = [
    'InvalidLossError', 'InvalidLossHook', 'PositionedBatches', 'RandomStateHook', 'WholeCheckpointHook',
    'position_batches', 'save_whole_checkpoints'
]
