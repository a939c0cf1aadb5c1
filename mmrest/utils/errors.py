"""Base classes of errors."""


class MMRestError(Exception):
    """Base class of errors caused by the user; the message names the cause and a solution."""


class UsageError(MMRestError):
    """An argument, option or config is invalid."""
