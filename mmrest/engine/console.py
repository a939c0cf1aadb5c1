"""Messages of a run on the console and in its log file."""

from __future__ import annotations

import logging
from contextlib import contextmanager
from typing import Iterator


@contextmanager
def only_in_files(logger: logging.Logger, start: str, summary: str) -> Iterator[None]:
    """Keep messages off the console, while log files have them, and print their number instead.

    Args:
        logger (logging.Logger): Logger with handlers for the console and for files.
        start (str): First words of the messages.
        summary (str): Message in place of them, with '{}' for their number.
    """
    hidden = []

    def keep(record: logging.LogRecord) -> bool:
        is_other = not record.getMessage().startswith(start)
        if not is_other:
            hidden.append(record)
        return is_other

    console = [each for each in logger.handlers if not isinstance(each, logging.FileHandler)]
    for handler in console:
        handler.addFilter(keep)
    try:
        yield
    finally:
        for handler in console:
            handler.removeFilter(keep)
        if hidden:
            logger.info(summary.format(len(hidden) // max(len(console), 1)))
