"""What can go wrong in the node agent.

DaemonError
├── ConfigError     a setting that is missing or can't be used
├── UnsupportedError  the kernel or the privileges lack something needed
├── ListenError     an address to listen on that can't be had
└── EnrollError     a pod that can't be enrolled
"""

from __future__ import annotations


class DaemonError(Exception):
    """Base of all errors of this package."""


class ConfigError(DaemonError):
    """Settings are missing or can't be used; the message names each of them."""


class UnsupportedError(DaemonError):
    """The kernel lacks features; the message names each, and who has it."""


class ListenError(DaemonError):
    """An address to listen on is taken; the message says by what, usually."""


class EnrollError(DaemonError):
    """A pod can't be enrolled; the message goes back to who asked for it."""
