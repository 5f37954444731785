"""What can go wrong in the runner.

RunnerError
├── PreflightError  this machine, or this moment, can't run the mesh
├── StartError      a process of the mesh's own didn't come up
├── NetworkError    the kernel refused a part of the network
├── LaunchError     a pod's process could not be executed
├── ControlError    the control API could not be asked
└── BalancerError   nft refused the balancer's rules
"""

from __future__ import annotations


class RunnerError(Exception):
    """Base of all errors of this package; the message is for the user."""


class PreflightError(RunnerError):
    """The mesh can't start here; nothing has been made."""


class StartError(RunnerError):
    """A process of the mesh's own ended, or wasn't ready in time."""


class NetworkError(RunnerError):
    """The kernel refused a part of the network."""


class LaunchError(RunnerError):
    """A pod's process could not be executed."""


class ControlError(RunnerError):
    """The control API is away or answered with an error."""


class BalancerError(RunnerError):
    """nft refused the balancer's rules; the rules before stay in force."""
