"""Bearer tokens, in the form that Kubernetes gives service accounts.

JWT (RFC 7519), ES256; the claims are those of a token that is bound to a pod.
"""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import jwt
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

from deploy.standalone.control.errors import UnauthenticatedError

ALGORITHM = "ES256"
ISSUER = "tandem"
AUDIENCE = "istio-ca"
#: Seconds that a token holds; it is renewed at half of them.
LIFE = 3600
#: Characters of a token that is looked at. Ours have some 500.
MAX_SIZE = 8 << 10
SUBJECT = re.compile(r"system:serviceaccount:([^:/]+):([^:/]+)")
#: The key of Kubernetes' own claims.
CLUSTER = "kubernetes.io"


@dataclass(frozen=True, slots=True)
class Claims:
    """What a token says: a service account, of a pod, on a node."""

    namespace: str
    service_account: str
    pod: str
    pod_uid: str
    node: str

    def __str__(self) -> str:
        account = f"{self.namespace}/{self.service_account}"
        return f"{account} (pod {self.pod} on {self.node})"


@dataclass(frozen=True, slots=True)
class Minted:
    """A token; expires: Unix seconds."""

    token: str
    expires: int


class Tokens:
    """Mints and verifies with one key. clock: of what is minted, Unix seconds."""

    def __init__(
        self, key: EllipticCurvePrivateKey, clock: Callable[[], float] = time.time
    ) -> None:
        self.key = key
        self.public_key = key.public_key()
        self.clock = clock

    def mint(self, claims: Claims) -> Minted:
        """A token that says this for an hour."""
        now = int(self.clock())
        content = {
            "iss": ISSUER,
            "aud": [AUDIENCE],
            "iat": now,
            "exp": now + LIFE,
            "sub": f"system:serviceaccount:{claims.namespace}:{claims.service_account}",
            CLUSTER: {
                "namespace": claims.namespace,
                "serviceaccount": {"name": claims.service_account},
                "pod": {"name": claims.pod, "uid": claims.pod_uid},
                "node": {"name": claims.node},
            },
        }
        return Minted(jwt.encode(content, self.key, ALGORITHM), now + LIFE)

    def verify(self, token: str) -> Claims:
        """What a token says; raises UnauthenticatedError, which tells what is wrong."""
        if len(token) > MAX_SIZE:
            raise UnauthenticatedError(f"token: {len(token)} characters: at most {MAX_SIZE}")
        try:
            content = jwt.decode(
                token,
                self.public_key,
                algorithms=[ALGORITHM],
                audience=AUDIENCE,
                issuer=ISSUER,
                options={"require": ["exp", "iat", "aud", "iss", "sub"]},
            )
        except jwt.PyJWTError as error:
            raise UnauthenticatedError(f"token: {reason(error)}") from error
        return read_claims(content)


def read_claims(content: Mapping[str, Any]) -> Claims:
    """Claims of a token whose signature is good; raises UnauthenticatedError."""
    subject = content["sub"]
    found = SUBJECT.fullmatch(subject)
    if found is None:
        raise UnauthenticatedError(
            f"token: sub {subject!r}: expected system:serviceaccount:<namespace>:<name>"
        )
    namespace, account = found.groups()
    try:
        cluster = content[CLUSTER]
        claims = Claims(
            namespace=cluster["namespace"],
            service_account=cluster["serviceaccount"]["name"],
            pod=cluster["pod"]["name"],
            pod_uid=cluster["pod"]["uid"],
            node=cluster["node"]["name"],
        )
    except (KeyError, TypeError) as error:
        raise UnauthenticatedError(
            f"token: {CLUSTER} says nothing of {error}: it must be bound to a pod and a node"
        ) from error
    if (claims.namespace, claims.service_account) != (namespace, account):
        raise UnauthenticatedError(f"token: sub {subject!r} is not the account of {CLUSTER}")
    return claims


def reason(error: jwt.PyJWTError) -> str:
    """Why a token isn't taken, for who sent it."""
    match error:
        case jwt.ExpiredSignatureError():
            return "it has expired: read it again from its file"
        case jwt.InvalidAudienceError():
            return f"its audience is not {AUDIENCE!r}"
        case jwt.InvalidIssuerError():
            return f"its issuer is not {ISSUER!r}"
        case jwt.InvalidAlgorithmError():
            return f"its algorithm is not {ALGORITHM}"
        case jwt.InvalidSignatureError():
            return "its signature is not this mesh's"
        case _:
            return f"not one of this mesh's: {error}"
