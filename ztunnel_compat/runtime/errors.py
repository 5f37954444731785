"""What keeps a process from serving.

ProcessError
├── ConfigError   settings that are missing or can't be used
└── ListenError   an address to listen on that can't be had
"""

from __future__ import annotations


class ProcessError(Exception):
    """Base: the process ends and says why in one line."""


class ConfigError(ProcessError):
    """Settings are missing or can't be used; the message names each of them."""


class ListenError(ProcessError):
    """An address to listen on is taken; the message says by what, usually."""
