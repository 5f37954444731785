"""What can go wrong in the Istio contract.

CompatError
├── CertificateError  a certificate, chain or key that can't be used
├── HboneError      a CONNECT, or an answer to one, that can't be used
├── IdentityError   text that is no SPIFFE identity
├── LoginError      files that are needed to reach the control plane
├── ProxyError      a PROXY protocol header that can't be used
├── ResourceError   a resource of the control plane's that can't be used
├── XdsError        an answer that breaks the delta-xDS protocol
└── ZdsError        a message that breaks the enrolment protocol
"""

from __future__ import annotations

from enum import StrEnum


class CompatError(Exception):
    """Base of all errors of this package."""


class HboneError(CompatError):
    """A CONNECT, or an answer to one, can't be used; a CONNECT is answered with 400."""


class IdentityError(CompatError):
    """A text is no SPIFFE identity of Istio's form."""


class ProxyError(CompatError):
    """A connection doesn't begin with a PROXY protocol header of use; says in what."""


class CertificateFailure(StrEnum):
    """Why there is no certificate, as metrics have it."""

    LOGIN = "login"  # a file is missing that is needed to ask for one
    UNREACHABLE = "unreachable"  # no answer, or not from our CA
    REFUSED = "refused"
    UNUSABLE = "unusable"  # there is one, and it is no good


class CertificateError(CompatError):
    """A certificate, a chain or a request for one can't be used, or isn't to be had."""

    def __init__(
        self, message: str, failure: CertificateFailure = CertificateFailure.UNUSABLE
    ) -> None:
        super().__init__(message)
        self.failure = failure


class LoginError(CompatError):
    """A file that is needed to reach the control plane is missing or of no use."""


class ResourceError(CompatError):
    """A resource can't be used; the message names the field and the value."""


class XdsError(CompatError):
    """The server broke the delta-xDS protocol; the stream must be reopened."""


class ZdsError(CompatError):
    """The peer broke the enrolment protocol; the connection must be reopened."""
