"""Errors that are the user's to mend: shown as one message, without a traceback."""
from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import Iterator

from ..checkpoints import CheckpointError


class UsageError(Exception):
    """A command was given something that cannot work; the message says what to do."""


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn an error that the user can mend into one message on stderr and exit status 2."""
    try:
        yield
    except (UsageError, CheckpointError) as error:
        print(f'error: {error}', file=sys.stderr)
        raise SystemExit(2) from None
