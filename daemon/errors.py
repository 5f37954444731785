"""What can go wrong in the node agent.

ProcessError
└── DaemonError
    ├── UnsupportedError     the kernel or the privileges lack something needed
    ├── KernelProgramsError  programs or maps can't be loaded or adopted
    └── EnrollError          a pod that can't be enrolled
"""

from __future__ import annotations

from ztunnel_compat.runtime.errors import ProcessError


class DaemonError(ProcessError):
    """Base of all errors of this package."""


class UnsupportedError(DaemonError):
    """The kernel lacks features; the message names each, and who has it."""


class KernelProgramsError(DaemonError):
    """Programs or maps can't be loaded or adopted; the message is the loader's."""


class EnrollError(DaemonError):
    """A pod can't be enrolled; the message goes back to who asked for it."""
