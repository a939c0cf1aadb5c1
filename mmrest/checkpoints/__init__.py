"""Checkpoints: download, safe loading, saving, and a report of what fits a model."""

from .downloads import check_url, download, fetch, resolve
from .errors import CheckpointError, CheckpointNotFoundError, DownloadError
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
    read_checkpoint,
    register_safe_loaders,
    use_safe_loading,
)
from .safetensors_io import hash_tensors
from .saving import save_checkpoint

__all__ = [
    'CheckpointError',
    'CheckpointNotFoundError',
    'DownloadError',
    'LoadReport',
    'allow_known_types',
    'check_url',
    'compare_state_dict',
    'download',
    'fetch',
    'hash_tensors',
    'load_file',
    'load_pretrained',
    'load_url',
    'read_checkpoint',
    'register_safe_loaders',
    'resolve',
    'save_checkpoint',
    'translate_backbone_keys',
    'unwrap_state_dict',
    'use_safe_loading',
]
