"""Checks that data sets and models have to pass before a run."""
from .heads import find_wrong_heads

__all__ = ['find_wrong_heads']
