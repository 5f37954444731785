"""What can go wrong in the Istio contract.

CompatError
├── IdentityError   text that is no SPIFFE identity
├── ResourceError   a resource of the control plane's that can't be used
├── XdsError        an answer that breaks the delta-xDS protocol
└── ZdsError        a message that breaks the enrolment protocol
"""

from __future__ import annotations


class CompatError(Exception):
    """Base of all errors of this package."""


class IdentityError(CompatError):
    """A text is no SPIFFE identity of Istio's form."""


class ResourceError(CompatError):
    """A resource can't be used; the message names the field and the value."""


class XdsError(CompatError):
    """The server broke the delta-xDS protocol; the stream must be reopened."""


class ZdsError(CompatError):
    """The peer broke the enrolment protocol; the connection must be reopened."""
