from .chunked import emsa_chunked
from .context import autocast_dtype, is_exporting, is_recording, is_stock, is_transformed, is_unhooked
from .emsa import IMPLS, emsa, emsa_direct, emsa_reference, emsa_through, resolve_impl
from .fast_paths import conv_norm, in_inference
from .ffn import ffn_recomputed, tokens_per_block
from .linear import call_linear, linear
from .workarounds import call_batch_norm, call_conv

__all__ = [
    'IMPLS', 'autocast_dtype', 'call_batch_norm', 'call_conv', 'call_linear', 'conv_norm', 'emsa', 'emsa_chunked',
    'emsa_direct', 'emsa_reference', 'emsa_through', 'ffn_recomputed', 'in_inference', 'is_exporting', 'is_recording',
    'is_stock', 'is_transformed', 'is_unhooked', 'linear', 'resolve_impl', 'tokens_per_block'
]
