"""Errors that are the user's to mend: shown as one message, without a traceback."""
from __future__ import annotations

import sys
from contextlib import contextmanager
from typing import Iterator

from ..checkpoints import CheckpointError
from ..checkpoints.storage import NO_SPACE
from ..datasets.faults import DataError
from ..hooks import InvalidLossError


class UsageError(Exception):
    """A command was given something that cannot work; the message says what to do."""


@contextmanager
def clear_errors() -> Iterator[None]:
    """Turn an error that the user can mend into one message on stderr and exit status 2."""
    try:
        yield
    except (UsageError, CheckpointError, DataError, InvalidLossError) as error:
        message = error
    except OSError as error:
        if error.errno not in NO_SPACE:
            raise
        message = f'{error.filename or "A file, perhaps a log,"} could not be written: {error.strerror}. Make room, ' \
                  'then go on with --resume.'
    else:
        return
    print(f'error: {message}', file=sys.stderr)
    raise SystemExit(2) from None
