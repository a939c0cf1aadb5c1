"""Objects whose pickles run code."""

from __future__ import annotations

import os


class RunsCommand:
    """An object whose pickle calls ``os.system`` as it is loaded.

    Args:
        command (str): For the shell, e.g. 'touch it_ran'.
    """

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> tuple:
        return os.system, (self.command,)
