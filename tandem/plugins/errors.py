"""What can be wrong with a filter."""

from __future__ import annotations


class FilterError(Exception):
    """A mistake of a filter's author; the message says which, and what to do."""
