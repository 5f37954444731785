"""Istio's RequestAuthentication as frozen values."""

from __future__ import annotations

from dataclasses import dataclass, field

from deploy.standalone.control.extensionapi import TargetRef
from deploy.standalone.control.objects import Key, Labels
from deploy.standalone.control.problems import Origin

#: Of a fetch of keys, in seconds.
TIMEOUT = 5.0


@dataclass(frozen=True, slots=True)
class JwtRule:
    """Whose tokens are taken. jwks: the keys, or empty; jwks_uri: where they are, or empty.

    headers: names and prefixes; claim_headers: headers and claims; timeout: of a fetch,
    in seconds. headers, params, cookies: where tokens are; all empty: where they are
    mostly.
    """

    issuer: str
    audiences: tuple[str, ...] = ()
    jwks: str = ""
    jwks_uri: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    params: tuple[str, ...] = ()
    cookies: tuple[str, ...] = ()
    payload_header: str = ""
    claim_headers: tuple[tuple[str, str], ...] = ()
    forward: bool = False
    timeout: float = TIMEOUT
    space_delimited: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class RequestAuthentication:
    """Which tokens requests may bring. selector: of pods, which no waypoint looks at."""

    namespace: str
    name: str
    selector: Labels
    targets: tuple[TargetRef, ...]
    rules: tuple[JwtRule, ...]
    origin: Origin = field(compare=False)

    @property
    def key(self) -> Key:
        """What names this object."""
        return Key("RequestAuthentication", self.namespace, self.name)
