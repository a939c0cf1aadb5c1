from .chunked import emsa_chunked
from .emsa import emsa, emsa_direct, emsa_reference, is_exporting, resolve_impl

__all__ = ['emsa', 'emsa_chunked', 'emsa_direct', 'emsa_reference', 'is_exporting', 'resolve_impl']
