"""One fetch of a key set: through the mesh, or straight from the Internet."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING
from urllib.parse import SplitResult, urlsplit

import aiohttp

from waypoint.errors import InquiryError, WaypointError
from waypoint.filters.inquiry import inquire
from waypoint.filters.jwt.json_text import read_object
from waypoint.filters.jwt.keys import Keys, KeysError, parse_keys
from waypoint.filters.jwt.slots import Remote
from waypoint.messages import Request
from waypoint.worker import Caller
from ztunnel_compat.peer import Peer

if TYPE_CHECKING:
    from waypoint.cluster import Cluster
    from waypoint.worker import Worker

#: Bytes of an answer at most.
LARGEST = 1 << 20
#: What an issuer says of itself (OpenID Connect Discovery 1.0 section 4).
DISCOVERY = "/.well-known/openid-configuration"
#: On whose behalf: nobody's but our own.
OWN = Caller(Peer(0, 0, bytes(16), 0, 0), "", "- - -")
HEADERS = {"accept": "application/json", "user-agent": "tandem-waypoint"}


class FetchError(WaypointError):
    """There was no key set; the message says why."""


async def fetch_keys(worker: Worker, source: Remote, cluster: Cluster | None) -> Keys:
    """The keys of a source; raises FetchError. An issuer's own words lead to its keys."""
    try:
        async with asyncio.timeout(source.timeout):
            body = await get(worker, source.uri, cluster, source.timeout)
            if urlsplit(source.uri).path.endswith(DISCOVERY):
                uri = keys_uri(body, source.uri)
                body = await get(worker, uri, None, source.timeout)
            return parse_keys(body)
    except TimeoutError:
        raise FetchError(f"no answer within {source.timeout:g} s") from None
    except KeysError as error:
        raise FetchError(f"Jwks {error}") from error
    except (InquiryError, aiohttp.ClientError, OSError, ValueError) as error:
        raise FetchError(str(error) or type(error).__name__) from error


def keys_uri(body: bytes, uri: str) -> str:
    """Where an issuer says that its keys are; raises FetchError."""
    document = read_object(body)
    if document is None:
        raise FetchError("the issuer's configuration is an invalid JSON")
    issuer = uri.removesuffix(DISCOVERY)
    said = document.get("issuer")
    if not isinstance(said, str) or said.removesuffix("/") != issuer:
        raise FetchError(f"the configuration is of issuer {said!r}, not {issuer!r}")
    found = document.get("jwks_uri")
    allowed = {"https", urlsplit(uri).scheme}
    if not isinstance(found, str) or urlsplit(found).scheme not in allowed:
        raise FetchError(f"jwks_uri {found!r} is no address to fetch keys from")
    return found


async def get(worker: Worker, uri: str, cluster: Cluster | None, seconds: float) -> bytes:
    """What is at an address. Who is in the mesh is asked as its clients ask."""
    parts = urlsplit(uri)
    if cluster is not None and cluster.known and parts.scheme == "http":
        return await get_inside(worker, parts, cluster, seconds)
    return await get_outside(uri)


async def get_inside(
    worker: Worker, parts: SplitResult, cluster: Cluster, seconds: float
) -> bytes:
    """Ask a cluster."""
    path = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
    fields = tuple((name.encode(), value.encode()) for name, value in HEADERS.items())
    request = Request(b"GET", b"http", parts.netloc.lower().encode(), path.encode(), fields)
    answered = await inquire(worker, OWN, cluster, request, seconds=seconds, limit=LARGEST)
    if answered.status != 200:
        raise FetchError(f"status {answered.status}")
    return answered.body


async def get_outside(uri: str) -> bytes:
    """Ask a server; certificates are checked by the system's roots."""
    async with (
        aiohttp.ClientSession(headers=HEADERS) as session,
        session.get(uri, allow_redirects=False) as response,
    ):
        if response.status != 200:
            raise FetchError(f"status {response.status}")
        body = bytearray()
        async for piece in response.content.iter_any():
            body += piece
            if len(body) > LARGEST:
                raise FetchError(f"the answer has more than {LARGEST} bytes")
        return bytes(body)
