from .chunked import emsa_chunked
from .context import autocast_dtype, is_exporting, is_recording, is_transformed
from .emsa import IMPLS, emsa, emsa_direct, emsa_reference, resolve_impl
from .ffn import ffn_recomputed, tokens_per_block
from .linear import linear

__all__ = [
    'IMPLS', 'autocast_dtype', 'emsa', 'emsa_chunked', 'emsa_direct', 'emsa_reference', 'ffn_recomputed',
    'is_exporting', 'is_recording', 'is_transformed', 'linear', 'resolve_impl', 'tokens_per_block'
]
