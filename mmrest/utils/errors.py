"""Base class of the errors of this package, and the error for wrong usage."""


class MMRestError(Exception):
    """Error that the user can fix; the message names the cause and the remedy."""


class UsageError(MMRestError):
    """Error of arguments or settings that cannot work."""
