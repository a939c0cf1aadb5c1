"""Errors that are the user's to mend: shown as one message, without a traceback."""

from __future__ import annotations

import errno
import sys
from contextlib import contextmanager
from typing import Iterator

from ..utils.errors import MMRestError, UsageError
from ..utils.fileio import NO_SPACE

# Of a path that was given: it is missing, not what it should be, or not to be written to.
OF_PATHS = (errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS)


class RunFinished(UsageError):
    """There is nothing left to do; the message says how to go on. Programs end with status 0."""


def describe_missing(what: str, error: Exception) -> str:
    """Return the message for something that needs a package which is not installed."""
    return (
        f'{what} needs something that is not installed: {error}\nRun "python -m mmrest.doctor" to see what to install.'
    )


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Turn an error that the user can mend into one message on stderr and exit status 2."""
    try:
        yield
    except RunFinished as finished:
        print(finished, flush=True)
        return
    except MMRestError as error:
        message = error
    except OSError as error:
        if error.errno in NO_SPACE:
            message = (
                f'{error.filename or "A file, perhaps a log,"} could not be written: {error.strerror}. Make '
                'room, then go on with --resume.'
            )
        elif error.errno in OF_PATHS and error.filename:
            message = f'{error.filename}: {error.strerror}.'
        else:
            raise
    else:
        return
    print(f'error: {message}', file=sys.stderr)
    raise SystemExit(2) from None
