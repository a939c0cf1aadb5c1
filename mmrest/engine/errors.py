"""Errors caused by the user: shown as one message, without a traceback."""

from __future__ import annotations

import errno
import sys
from contextlib import contextmanager
from typing import Iterator

from ..utils.errors import MMRestError, UsageError
from ..utils.fileio import NO_SPACE

# Errors of paths given by the user: missing, of the wrong type, or not writable.
PATH_ERRNOS = (errno.ENOENT, errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.EACCES, errno.EPERM, errno.EROFS)


class RunFinished(UsageError):
    """The run to resume is finished. Programs exit with status 0."""


def describe_missing(name: str, error: Exception) -> str:
    """Return the message for a missing package.

    Args:
        name (str): Subject of the message, e.g. a config.
        error (Exception): Import error.
    """
    return f'{name} needs a package that is not installed: {error}\nRun "python -m mmrest.doctor" for help.'


@contextmanager
def exit_on_user_error() -> Iterator[None]:
    """Print an error caused by the user on stderr and exit with status 2."""
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
                f'{error.filename or "A file, perhaps a log,"} could not be written: {error.strerror}. Free '
                'some disk space, then continue with --resume.'
            )
        elif error.errno in PATH_ERRNOS and error.filename:
            message = f'{error.filename}: {error.strerror}.'
        else:
            raise
    else:
        return
    print(f'error: {message}', file=sys.stderr)
    raise SystemExit(2) from None
