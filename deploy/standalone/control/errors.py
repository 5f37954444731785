"""What can go wrong in the control plane.

ControlError
├── ConfigError      an argument that can't be used
├── StateError       a state file that can't be written
├── ApplyError       a text given to the API that can't be applied or deleted
│   └── ConflictError   it names objects that a watched file holds
├── UnknownError     something asked for that isn't there
└── NodeIdError      an xDS client whose node id can't be understood

What is wrong with a manifest is no exception but a Problem (problems.py): the
rest of the mesh goes on.
"""

from __future__ import annotations


class ControlError(Exception):
    """Base of all errors of this package."""


class ConfigError(ControlError):
    """An argument can't be used; the message names it, its value and what to do."""


class StateError(ControlError):
    """A state file can't be written; the message names it and the cause."""


class ApplyError(ControlError):
    """A text given to the API can't be applied; the message names line and field."""


class ConflictError(ApplyError):
    """A text given to the API names objects that a watched file holds."""


class UnknownError(ControlError):
    """A pod, node or table that was asked for doesn't exist."""


class NodeIdError(ControlError):
    """An xDS client's node id has not the form that Istio's clients send."""
