"""Export of models to ONNX and ``torch.export``."""

from .nms import apply_nms
from .targets import Target, backbone_target, config_target
from .verify import Difference, compare
from .write import export, read_metadata

__all__ = [
    'Difference',
    'Target',
    'apply_nms',
    'backbone_target',
    'compare',
    'config_target',
    'export',
    'read_metadata',
]
