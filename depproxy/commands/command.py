"""What all commands share."""

from depproxy.errors import DepproxyError


class CommandFailed(DepproxyError):
    """A command cannot do what it was asked to; the text says why."""
