"""What is done to every request before its filters: Envoy's connection manager, pure.

Its path is normalised, and what clients say of certificates that others proved is theirs
to say only where the configuration believes them.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass

from waypoint.filters.verdicts import Refusal
from waypoint.messages import Field, Request
from waypoint.routing.normalize import BASE, Paths

XFCC = b"x-forwarded-client-cert"
BAD_PATH = Refusal(400, b"", "path_normalization_failed")
#: What a head has beside its parts, and a line beside its own.
FRAME = len(b"  HTTP/1.1\r\nhost: \r\n\r\n")
LINE = len(b": \r\n")
TOO_MANY = Refusal(431, b"", "too_many_headers")
TOO_LARGE = Refusal(431, b"", "request_headers_too_large")


class ClientCert(enum.Enum):
    """What becomes of x-forwarded-client-cert (Envoy's ForwardClientCertDetails)."""

    SANITIZE = "sanitize"
    FORWARD_ONLY = "forward_only"
    APPEND_FORWARD = "append_forward"
    SANITIZE_SET = "sanitize_set"
    ALWAYS_FORWARD_ONLY = "always_forward_only"


#: What doesn't depend on who the client is.
SAME_FOR_ALL = {ClientCert.SANITIZE, ClientCert.ALWAYS_FORWARD_ONLY}


@dataclass(frozen=True, slots=True)
class HeadBounds:
    """How many fields a head may have, and how many bytes, as HTTP/1.1 has them.

    Fields of one hop, which never get here, don't count.
    """

    fields: int
    size: int

    def judge(self, request: Request) -> Refusal | None:
        """Why a head is too large, or None."""
        method, _, authority, path, fields = request
        # Beside them there is Host.
        if len(fields) >= self.fields:
            return TOO_MANY
        size = FRAME + len(method) + len(path) + len(authority)
        size += sum(LINE + len(name) + len(value) for name, value in fields)
        return TOO_LARGE if size > self.size else None


@dataclass(frozen=True, slots=True)
class Admission:
    """How requests come in. uri: a client's identity is told, where one is set at all;
    head: how large heads may be, None: as large as a connection takes them.
    """

    paths: Paths = BASE
    client_cert: ClientCert = ClientCert.SANITIZE
    uri: bool = False
    head: HeadBounds | None = None

    @property
    def reads_connection(self) -> bool:
        """Whether the same head may go on differently for two clients."""
        return self.client_cert not in SAME_FOR_ALL


NO_ADMISSION = Admission()


def admit(
    request: Request, admission: Admission, identity: str, own: str, *, grpc: bool
) -> Request | Refusal:
    """The request as filters and routes see it: the same object where nothing changes.

    identity: the client's, as it was proven, or empty; own: the waypoint's.
    """
    if admission.head is not None and (refusal := admission.head.judge(request)) is not None:
        return refusal
    path = request.path
    if admission.paths.clean.match(path) is None and not is_asterisk(request):
        found = admission.paths.apply(path)
        if found is None or (found.redirect and grpc):
            return BAD_PATH
        if found.redirect:
            location = (b"location", found.path)
            return Refusal(307, b"", "path_normalization_failed", fields=(location,))
        request = request._replace(path=found.path)
    fields = told_certificates(request.fields, admission, identity, own)
    return request if fields is request.fields else request._replace(fields=fields)


def is_asterisk(request: Request) -> bool:
    """Whether a request is for the server itself (RFC 9112 section 3.2.4)."""
    return request.path == b"*" and request.method == b"OPTIONS"


def told_certificates(
    fields: tuple[Field, ...], admission: Admission, identity: str, own: str
) -> tuple[Field, ...]:
    """A request's fields with what is told of the client's certificate."""
    mode = admission.client_cert
    if mode is ClientCert.SANITIZE:
        for name, _ in fields:
            if name == XFCC:
                break
        else:
            return fields
    if mode is ClientCert.ALWAYS_FORWARD_ONLY or (mode is ClientCert.FORWARD_ONLY and identity):
        return fields
    said = [value for name, value in fields if name == XFCC]
    sets = identity and mode in {ClientCert.APPEND_FORWARD, ClientCert.SANITIZE_SET}
    if not said and not sets:
        return fields
    kept = tuple(each for each in fields if each[0] != XFCC)
    if not sets:
        return kept
    told = [f"By={own}"] if own else []
    told += [f"URI={identity}"] if admission.uri else []
    values = said if mode is ClientCert.APPEND_FORWARD else []
    values = [*values, ";".join(told).encode()] if told else values
    return (*kept, (XFCC, b",".join(values))) if values else kept
