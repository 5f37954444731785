"""What the command line tells its user when it can't do what was asked."""

from __future__ import annotations


class CommandError(Exception):
    """A command can't be done: the message is one line that says what to do about it."""
