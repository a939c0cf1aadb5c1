"""Errors of checkpoint files."""

from __future__ import annotations

from ..utils.errors import MMRestError


class CheckpointError(MMRestError, RuntimeError):
    """A checkpoint cannot be read, is refused, or does not match the model."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """A checkpoint file does not exist."""
