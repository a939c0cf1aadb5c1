"""Errors of checkpoint files."""

from __future__ import annotations

from typing import Any

from ..utils.errors import MMRestError

_ADVICE = 'Without network access, download it elsewhere and give the path of the file instead of the URL.'


class CheckpointError(MMRestError, RuntimeError):
    """A checkpoint cannot be read, is refused, or does not match the model."""


class CheckpointNotFoundError(CheckpointError, FileNotFoundError):
    """A checkpoint file does not exist."""


class DownloadError(CheckpointError):
    """A file cannot be downloaded.

    Args:
        url (str): URL of the file.
        reason (str): Cause, for the message.
    """

    def __init__(self, url: str, reason: str) -> None:
        super().__init__(f'{url} cannot be downloaded: {reason}. {_ADVICE}')
        self.url = url
        self.reason = reason

    def __reduce__(self) -> tuple[Any, ...]:
        return type(self), (self.url, self.reason)
