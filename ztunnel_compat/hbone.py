"""HBONE's headers: HTTP/2 CONNECT as ztunnel sends and answers it.

``:method CONNECT`` and ``:authority address:port`` ask for a connection; what else is
there tells of the client, for telemetry alone: nothing of it is proven. Sources:
RFC 9113 section 8.5, W3C Baggage and Trace Context, RFC 7239, istio/ztunnel
src/proxy/outbound.rs and src/baggage.rs.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from functools import lru_cache
from typing import Final
from urllib.parse import quote, unquote

from ztunnel_compat.errors import HboneError
from ztunnel_compat.identity import Identity
from ztunnel_compat.model import Workload
from ztunnel_compat.names import name_hash

Headers = list[tuple[bytes, bytes]]

#: A DNS name, a colon and a port, or an address in brackets.
MAX_AUTHORITY: Final = 261
MAX_BAGGAGE: Final = 4096
MAX_FORWARDED: Final = 512
NAME: Final = re.compile(r"(?!-)[a-z0-9_-]{1,63}(?:\.[a-z0-9_-]{1,63})*\.?", re.ASCII)
PORT: Final = re.compile(r"[0-9]{1,5}", re.ASCII)
TRACEPARENT: Final = re.compile(rb"00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}")
FORWARDED: Final = re.compile(r'(for|host)=(?:"([^"\\]*)"|([^\s",;]*))', re.IGNORECASE)
#: What a baggage value may hold as it is: RFC 6265's cookie octets, but for the percent
#: sign. ztunnel doesn't quote, and nothing in Kubernetes' names needs it.
SAFE: Final = "!#$&'()*+-./:<=>?@[]^_`{|}~"
#: Connection-specific fields have no place in HTTP/2 (RFC 9113 section 8.2.2).
FORBIDDEN: Final = frozenset((b"connection", b"transfer-encoding", b"upgrade"))

#: How names of identities end; RFC 9476 keeps the domain out of DNS.
SERVER_NAMES: Final = ".identity.tandem.alt"

BAGGAGE_KEYS: Final = {
    "k8s.cluster.name": "cluster",
    "k8s.namespace.name": "namespace",
    "service.name": "canonical_name",
    "service.version": "canonical_revision",
    "cloud.region": "region",
    "cloud.availability_zone": "zone",
}
WORKLOAD_KEYS: Final = {
    f"k8s.{kind}.name": kind for kind in ("deployment", "cronjob", "pod", "job")
}


@dataclass(frozen=True, slots=True)
class Authority:
    """``host:port``; host: an IPv4 or IPv6 address without brackets, or a name.

    address: the host as a packed address of 4 or 16 bytes, never v4-mapped; None for
    a name, which is in lower case and has no dot at its end.
    """

    host: str
    port: int
    address: bytes | None = None

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def of(cls, packed: bytes, port: int) -> Authority:
        """The authority of an address, of 4 or 16 bytes, v4-mapped or not."""
        text, unmapped = text_of(packed)
        return cls(text, port, unmapped)


def server_name_of(identity: Identity) -> str:
    """What a client says in TLS (SNI) that it wants whoever has this identity.

    Only where several workloads share an address: their node can't know otherwise which
    certificate to show. Our own; ztunnel has one workload at an address, and says none.
    """
    return f"{name_hash(str(identity)):016x}{SERVER_NAMES}"


@lru_cache(maxsize=4096)
def text_of(packed: bytes) -> tuple[str, bytes]:
    """An address as text and packed, v4-mapped ones as IPv4."""
    found = ipaddress.ip_address(packed)
    if found.version == 6:
        found = found.ipv4_mapped or found
    return str(found), found.packed


def address_of(host: str) -> bytes:
    """A socket's address, packed, 4 bytes where it was v4-mapped."""
    return text_of(ipaddress.ip_address(host.partition("%")[0]).packed)[1]


def parse_authority(raw: bytes) -> Authority:
    """Read ``host:port``; raises HboneError, whose status is 400."""
    if len(raw) > MAX_AUTHORITY:
        raise HboneError(f":authority has {len(raw)} bytes; {MAX_AUTHORITY} at most")
    try:
        text = raw.decode("ascii")
    except UnicodeDecodeError:
        raise HboneError(f":authority {raw!r} isn't ASCII") from None
    host, colon, port = text.rpartition(":")
    number = int(port) if PORT.fullmatch(port) else 0
    if not colon or not 0 < number < 65536:
        raise HboneError(f":authority {text!r} has no port: expected address:port")
    name, address = host_of(host)
    return Authority(name, number, address)


@lru_cache(maxsize=4096)
def host_of(host: str) -> tuple[str, bytes | None]:
    """The host of an authority as ``Authority`` has it; raises HboneError."""
    bracketed = host.startswith("[") and host.endswith("]")
    try:
        address = ipaddress.ip_address(host[1:-1] if bracketed else host)
    except ValueError:
        name = host.lower().removesuffix(".")
        if bracketed or not NAME.fullmatch(name):
            raise HboneError(f":authority {host!r} is neither an address nor a name") from None
        return name, None
    if bracketed is not (address.version == 6) or getattr(address, "scope_id", None):
        raise HboneError(f":authority {host!r}: expected 1.2.3.4 or [2001:db8::1]")
    return text_of(address.packed)


@dataclass(frozen=True, slots=True)
class Baggage:
    """What a client or server says of its workload; empty: it doesn't."""

    cluster: str = ""
    namespace: str = ""
    workload_type: str = ""
    workload_name: str = ""
    canonical_name: str = ""
    canonical_revision: str = ""
    region: str = ""
    zone: str = ""

    @classmethod
    def of(cls, workload: Workload) -> Baggage:
        """What we say of a workload."""
        return cls(
            workload.cluster_id,
            workload.namespace,
            workload.workload_type,
            workload.workload_name,
            workload.canonical_name,
            workload.canonical_revision,
            workload.locality.region,
            workload.locality.zone,
        )

    def encode(self) -> bytes:
        """The header's value; what is empty is left out."""
        rows = (
            ("k8s.cluster.name", self.cluster),
            ("k8s.namespace.name", self.namespace),
            (f"k8s.{self.workload_type or 'pod'}.name", self.workload_name),
            ("service.name", self.canonical_name),
            ("service.version", self.canonical_revision),
            ("cloud.region", self.region),
            ("cloud.availability_zone", self.zone),
        )
        return ",".join(f"{key}={quote(value, SAFE)}" for key, value in rows if value).encode()


NO_BAGGAGE: Final = Baggage()


def parse_baggage(raw: bytes) -> Baggage:
    """Read what is known of it; the rest, and what is too long, is passed over."""
    return NO_BAGGAGE if not raw or len(raw) > MAX_BAGGAGE else read_baggage(raw)


@lru_cache(maxsize=256)
def read_baggage(raw: bytes) -> Baggage:
    """Read what has a sound length: a client says the same of itself each time."""
    known: dict[str, str] = {}
    for member in raw.decode("utf-8", "replace").split(","):
        key, _, value = member.partition(";")[0].partition("=")
        key, value = key.strip(), unquote(value.strip())
        field = BAGGAGE_KEYS.get(key)
        if field is not None:
            known.setdefault(field, value)
        elif key in WORKLOAD_KEYS:
            known.setdefault("workload_type", WORKLOAD_KEYS[key])
            known.setdefault("workload_name", value)
    return Baggage(**known)


@dataclass(frozen=True, slots=True)
class ConnectRequest:
    """What a CONNECT asks for, and what its client says of itself.

    forwarded_for: the client's ``address:port``; forwarded_host: the service that it
    called, which picks labels and nothing else. Empty: not said, or not readable.
    """

    authority: Authority
    baggage: Baggage = Baggage()
    forwarded_for: str = ""
    forwarded_host: str = ""
    traceparent: str = ""


@dataclass(frozen=True, slots=True)
class ConnectResponse:
    """The answer to a CONNECT: 200 once the application took the connection."""

    status: int
    baggage: Baggage = Baggage()


def traceparent_of(random: bytes) -> str:
    """A new trace's header, not sampled; random: 24 bytes."""
    text = random.hex()
    return f"00-{text[:32]}-{text[32:48]}-00"


def request_headers(
    authority: str, *, baggage: bytes, forwarded_for: str, forwarded_host: str, traceparent: str
) -> Headers:
    """A CONNECT's headers; baggage: ``Baggage.encode()``."""
    forwarded = f'for="{forwarded_for}"'
    if forwarded_host:
        forwarded += f";host={forwarded_host}"
    headers = [(b":method", b"CONNECT"), (b":authority", authority.encode("ascii"))]
    if baggage:
        headers.append((b"baggage", baggage))
    headers.append((b"forwarded", forwarded.encode("ascii", "ignore")))
    headers.append((b"traceparent", traceparent.encode("ascii")))
    return headers


def parse_request(headers: Headers) -> ConnectRequest:
    """Read a CONNECT; raises HboneError, which holds the status to answer with."""
    pseudo: dict[bytes, bytes] = {}
    plain: dict[bytes, bytes] = {}
    for name, value in headers:
        if not name.startswith(b":"):
            # The first counts: what is added to a request comes after it.
            plain.setdefault(name, value)
        elif name in pseudo:
            raise HboneError(f"{name.decode('ascii', 'replace')} is there twice")
        else:
            pseudo[name] = value
    method = pseudo.pop(b":method", b"")
    if method != b"CONNECT":
        raise HboneError(f":method {method[:32]!r}: only CONNECT is answered here")
    authority = pseudo.pop(b":authority", None)
    if authority is None:
        raise HboneError("CONNECT without :authority")
    if pseudo:
        others = b", ".join(sorted(pseudo))[:64]
        raise HboneError(f"CONNECT with {others!r}: it has :method and :authority only")
    if forbidden := FORBIDDEN & plain.keys():
        raise HboneError(f"{min(forbidden)!r} has no place in HTTP/2")
    forwarded = parse_forwarded(plain.get(b"forwarded", b""))
    trace = plain.get(b"traceparent", b"")
    return ConnectRequest(
        parse_authority(authority),
        parse_baggage(plain.get(b"baggage", b"")),
        forwarded.get("for", ""),
        forwarded.get("host", ""),
        trace.decode("ascii") if TRACEPARENT.fullmatch(trace) else "",
    )


def parse_forwarded(raw: bytes) -> dict[str, str]:
    """``for`` and ``host`` of the first hop; what is too long is passed over."""
    if len(raw) > MAX_FORWARDED:
        return {}
    found: dict[str, str] = {}
    # A comma begins the next hop, unless it is quoted; addresses have none.
    for match in FORWARDED.finditer(raw.decode("ascii", "replace").partition(",")[0]):
        found.setdefault(match[1].lower(), match[2] if match[2] is not None else match[3])
    return found


def response_headers(status: int, baggage: bytes = b"") -> Headers:
    """The answer to a CONNECT; baggage: ``Baggage.encode()`` of the server's workload."""
    headers = [(b":status", b"%d" % status)]
    if baggage:
        headers.append((b"baggage", baggage))
    return headers


def parse_response(headers: Headers) -> ConnectResponse:
    """Read the answer to a CONNECT; raises HboneError when it has no status."""
    status, baggage = b"", b""
    for name, value in headers:
        if name == b":status":
            status = value
        elif name == b"baggage" and not baggage:
            baggage = value
    if len(status) != 3 or not status.isdigit():
        raise HboneError(f"an answer with :status {status[:32]!r}")
    return ConnectResponse(int(status), parse_baggage(baggage))
