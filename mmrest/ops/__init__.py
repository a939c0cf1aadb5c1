"""Functional operators: attention, feed-forward networks, fast paths."""

from .attention import IMPLS, emsa, emsa_direct, emsa_reference, emsa_through, resolve_impl
from .chunked import emsa_chunked
from .fast_paths import fast_paths, fast_paths_enabled
from .ffn import ffn_recomputed, norm_ffn, stock_ffn
from .layers import call_layer, recompute
from .modes import is_exporting, is_stock
from .workarounds import channels_last, crop_map

__all__ = [
    'IMPLS',
    'call_layer',
    'channels_last',
    'crop_map',
    'emsa',
    'emsa_chunked',
    'emsa_direct',
    'emsa_reference',
    'emsa_through',
    'fast_paths',
    'fast_paths_enabled',
    'ffn_recomputed',
    'is_exporting',
    'is_stock',
    'norm_ffn',
    'recompute',
    'resolve_impl',
    'stock_ffn',
]
