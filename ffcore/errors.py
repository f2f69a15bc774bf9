"""The two ways in which a request ends badly; both carry one line that names the remedy."""


class Refused(ValueError):
    """The request itself was wrong (unknown name, value out of bounds, damaged file): nothing was created or changed."""


class Failed(RuntimeError):
    """Something went wrong while running (diverged, disk full, out of memory): the run directory says the same."""
