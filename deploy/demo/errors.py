"""What ends the story before its last line."""

from __future__ import annotations


class StoryError(Exception):
    """A step of the story isn't so; the message is what was seen instead."""
