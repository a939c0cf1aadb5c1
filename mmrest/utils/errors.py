"""The base class of this package's errors, and the one for wrong use."""


class MMRestError(Exception):
    """Error that the user can mend; its message names the cause and what to do."""


class UsageError(MMRestError):
    """A command or function was given something that cannot work."""
