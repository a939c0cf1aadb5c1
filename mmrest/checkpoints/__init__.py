"""Checkpoints: download, safe loading, and a report of what fits a model."""

from .downloads import DownloadError, check_url, download, resolve
from .errors import CheckpointError, CheckpointNotFoundError
from .loading import (
    LoadReport,
    compare_state_dict,
    load_pretrained,
    translate_backbone_keys,
    unwrap_state_dict,
)
from .safe import (
    allow_known_types,
    load_file,
    load_url,
    register_safe_loaders,
    use_safe_loading,
)

__all__ = [
    'CheckpointError',
    'CheckpointNotFoundError',
    'DownloadError',
    'LoadReport',
    'allow_known_types',
    'check_url',
    'compare_state_dict',
    'download',
    'load_file',
    'load_pretrained',
    'load_url',
    'register_safe_loaders',
    'resolve',
    'translate_backbone_keys',
    'unwrap_state_dict',
    'use_safe_loading',
]
