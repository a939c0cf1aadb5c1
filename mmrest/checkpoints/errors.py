"""Errors of checkpoint files."""

from __future__ import annotations

from ..utils.errors import MMRestError


class CheckpointError(MMRestError, RuntimeError):
    """A checkpoint file cannot be read, is refused, or does not fit the model."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """There is no such checkpoint file."""
