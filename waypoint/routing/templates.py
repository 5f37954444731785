"""Texts with commands in them, such as ``%REQ(x-user)%`` (Envoy's access log format)."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from waypoint.errors import RouteError
from waypoint.messages import Field, Request

COMMAND = re.compile(r"%(?:%|([A-Z_0-9]+)(?:\(([^()%]*)\))?(?::([0-9]{1,9}))?%)")
NAME = re.compile(r":?[!#$&'*+\-.^_`|~0-9A-Za-z]+")
Address = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Facts:
    """What commands may tell of the connection; empty or None: not known.

    protocol: ``HTTP/1.1`` or ``HTTP/2``; remote, local: the client's address and the
    one it asked for; identity: the client's, as it was proven; server_name: that TLS
    asks for.
    """

    protocol: str = ""
    remote: Address | None = None
    local: Address | None = None
    identity: str = ""
    server_name: str = ""


NO_FACTS = Facts()


def host(address: Address | None) -> str:
    """An address without its port."""
    return address[0] if address else ""


def host_and_port(address: Address | None) -> str:
    """An address with its port."""
    if address is None:
        return ""
    return f"[{address[0]}]:{address[1]}" if ":" in address[0] else f"{address[0]}:{address[1]}"


#: Commands about the connection. A waypoint believes no X-Forwarded-For, so the
#: direct remote address is the remote address.
CONNECTION: dict[str, Callable[[Facts], str]] = {
    "PROTOCOL": lambda facts: facts.protocol,
    "DOWNSTREAM_REMOTE_ADDRESS": lambda facts: host_and_port(facts.remote),
    "DOWNSTREAM_REMOTE_ADDRESS_WITHOUT_PORT": lambda facts: host(facts.remote),
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS": lambda facts: host_and_port(facts.remote),
    "DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT": lambda facts: host(facts.remote),
    "DOWNSTREAM_LOCAL_ADDRESS": lambda facts: host_and_port(facts.local),
    "DOWNSTREAM_LOCAL_ADDRESS_WITHOUT_PORT": lambda facts: host(facts.local),
    "DOWNSTREAM_LOCAL_PORT": lambda facts: str(facts.local[1]) if facts.local else "",
    "DOWNSTREAM_PEER_URI_SAN": lambda facts: facts.identity,
}
MESSAGE = frozenset({"REQ", "RESP"})


@dataclass(frozen=True, slots=True)
class Command:
    """One command; names: for REQ and RESP, headers of which the first there counts."""

    name: str
    names: tuple[bytes, ...] = ()
    limit: int | None = None

    def render(self, request: Request, response: tuple[Field, ...], facts: Facts) -> bytes:
        """Its value, cut to its limit; empty where there is none."""
        if self.name in CONNECTION:
            value = CONNECTION[self.name](facts).encode()
        elif self.name == "REQ":
            value = first(request.fields, self.names, request)
        else:
            value = first(response, self.names, None)
        return value if self.limit is None else value[: self.limit]


def first(
    fields: tuple[Field, ...], names: tuple[bytes, ...], request: Request | None
) -> bytes:
    """The first value of the first of some headers that is there."""
    for name in names:
        if request is not None and (name[:1] == b":" or name == b"host"):
            pseudo = request.header(b":authority" if name == b"host" else name)
            if pseudo is not None:
                return pseudo
        for found, value in fields:
            if found == name:
                return value
    return b""


@dataclass(frozen=True, slots=True)
class Template:
    """Text and commands in turn."""

    parts: tuple[bytes | Command, ...]

    @property
    def reads_connection(self) -> bool:
        """Whether two equal requests of two connections may get two texts."""
        return any(isinstance(p, Command) and p.name in CONNECTION for p in self.parts)

    def render(
        self, request: Request, response: tuple[Field, ...] = (), facts: Facts = NO_FACTS
    ) -> bytes:
        """The text; response: the fields of the response, where there is one."""
        return b"".join(
            part if isinstance(part, bytes) else part.render(request, response, facts)
            for part in self.parts
        )


def parse_template(text: str) -> Template:
    """Split a text; raises RouteError for a command that isn't known here."""
    parts: list[bytes | Command] = []
    copied = 0
    for found in COMMAND.finditer(text):
        parts.append(literal(text, copied, found.start()))
        parts.append(b"%" if found[0] == "%%" else command(found))
        copied = found.end()
    parts.append(literal(text, copied, len(text)))
    return Template(tuple(part for part in parts if part))


def literal(text: str, start: int, end: int) -> bytes:
    """The text between two commands; raises RouteError where one is broken in it."""
    piece = text[start:end]
    if "%" in piece:
        raise RouteError(f"{text!r}: {piece[piece.index('%') :][:40]!r} is not supported")
    return piece.encode()


def command(found: re.Match[str]) -> Command:
    """One command; raises RouteError with its name."""
    name, argument, limit = found.groups()
    most = None if limit is None else int(limit)
    if name in CONNECTION and argument is None and limit is None:
        return Command(name)
    names = (argument or "").split("?")
    if name in MESSAGE and len(names) <= 2 and all(NAME.fullmatch(each) for each in names):
        return Command(name, tuple(each.lower().encode() for each in names), most)
    raise RouteError(f"{found[0]} is not supported")
