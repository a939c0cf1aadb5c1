from .loading import (
                      LoadReport,
                      LoadReportHook,
                      compare_state_dict,
                      load_pretrained,
                      translate_backbone_keys,
                      unwrap_state_dict,
)
from .safe import (
                      CheckpointError,
                      CheckpointNotFoundError,
                      allow_known_types,
                      load_file,
                      register_safe_loaders,
                      use_safe_loading,
)

__all__ = [
    'CheckpointError', 'CheckpointNotFoundError', 'LoadReport', 'LoadReportHook', 'allow_known_types',
    'compare_state_dict', 'load_file', 'load_pretrained', 'register_safe_loaders', 'translate_backbone_keys',
    'unwrap_state_dict', 'use_safe_loading'
]
