from .emsa import emsa, emsa_reference

__all__ = ['emsa', 'emsa_reference']
