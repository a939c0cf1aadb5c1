"""Utilities for all other parts of the package, which know nothing of models."""
