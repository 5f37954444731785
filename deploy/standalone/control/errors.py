"""What can go wrong in the control plane.

ControlError
├── ConfigError      an argument that can't be used
├── StateError       a state file that can't be written
├── CaError          a file of the certificate authority that can't be used
├── RotationError    a change of the root that can't be begun
├── CallerError      a client of port 15012 that is refused
│   ├── UnauthenticatedError  who it is, is not proven
│   ├── ForbiddenError        it may not have what it asks for
│   └── RequestError          what it asks for can't be understood, or is unsafe
│       └── NodeIdError       its node id can't be understood
├── ApplyError       a text given to the API that can't be applied or deleted
│   └── ConflictError   it names objects that a watched file holds
├── EnvoyValueError  a message of Envoy's in a manifest that isn't what it has to be
└── UnknownError     something asked for that isn't there

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


class CaError(ControlError):
    """A file of the authority's can't be used; the message names it and what to do."""


class RotationError(ControlError):
    """The root can't be changed now, or a rotation makes no sense."""


class CallerError(ControlError):
    """Base: a client is refused; the message tells it why."""


class UnauthenticatedError(CallerError):
    """Who the client is, is not proven."""


class ForbiddenError(CallerError):
    """The client may not have what it asks for."""


class RequestError(CallerError):
    """What the client asks for can't be understood, or is unsafe."""


class ApplyError(ControlError):
    """A text given to the API can't be applied; the message names line and field."""


class ConflictError(ApplyError):
    """A text given to the API names objects that a watched file holds."""


class EnvoyValueError(ControlError):
    """A message of Envoy's can't be used; the text says where and why."""


class UnknownError(ControlError):
    """A pod, node or table that was asked for doesn't exist."""


class NodeIdError(RequestError):
    """An xDS client's node id has not the form that Istio's clients send."""
