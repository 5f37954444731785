"""Our decisions beside a real Envoy's, on generated policies and requests.

How paths are normalised is part of it. What differs on purpose is explained in
ARCHITECTURE.md and left out here.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass

import pytest
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)
from google.protobuf import json_format

from tests.support.echo import echoes, read_response
from tests.support.envoy import EXTENSIONS, bootstrap, cluster, envoy, http_listener
from tests.waypoint.filters.policies import CLIENTS, PAYLOAD, RBAC, Json, Policies
from waypoint.filters.admission import admit
from waypoint.filters.chain import Chain, open_chain
from waypoint.filters.decode import decode_chain
from waypoint.filters.kinds import KINDS
from waypoint.filters.verdicts import Asked, Refusal
from waypoint.layers.request import parse_request
from waypoint.plan import is_grpc, refused
from waypoint.routing import NOBODY, Facts

JWT = "envoy.filters.http.jwt_authn"
IDENTITY = {
    "name": "identity",
    "typedConfig": {
        "@type": f"{EXTENSIONS}.http.set_filter_state.v3.Config",
        "onRequestHeaders": [
            {
                "objectKey": "io.istio.peer_principal",
                "factoryKey": "envoy.string",
                "skipIfEmpty": True,
                "formatString": {
                    "textFormatSource": {"inlineString": "%REQ(x-peer)%"},
                    "omitEmptyValues": True,
                },
            }
        ],
    },
}
CLAIMS = {
    "name": "claims",
    "typedConfig": {
        "@type": f"{EXTENSIONS}.http.set_metadata.v3.Config",
        "metadata": [{"metadataNamespace": JWT, "value": {"payload": PAYLOAD}}],
    },
}
DETAILS = {"header": {"key": "x-details", "value": "%RESPONSE_CODE_DETAILS%"}}
LOCAL = {
    "mappers": [
        {
            "filter": {"responseFlagFilter": {}},
            "headersToAdd": [DETAILS],
        },
        {
            "filter": {
                "statusCodeFilter": {
                    "comparison": {"op": "GE", "value": {"defaultValue": 1, "runtimeKey": "x"}}
                }
            },
            "headersToAdd": [DETAILS],
        },
    ]
}


@dataclass(frozen=True)
class Outcome:
    """What came of a request: the status, and where it led or why not."""

    status: int
    path: str = ""
    details: str = ""
    location: str = ""
    notes: str = ""


def listener(name: str, manager: Json) -> Json:
    """Envoy's listener with these filters in front of the echo."""
    notes = f"%DYNAMIC_METADATA({RBAC})%|%DYNAMIC_METADATA(envoy.common)%|"
    route = {
        "match": {"prefix": ""},
        "route": {"cluster": "c"},
        "requestHeadersToAdd": [{"header": {"key": "x-notes", "value": notes}}],
    }
    routes = {"virtualHosts": [{"name": "h", "domains": ["*"], "routes": [route]}]}
    made = http_listener(name, routes)
    config = made["filterChains"][0]["filters"][0]["typedConfig"]
    router = [each for each in config["httpFilters"] if each["name"].endswith("router")]
    config |= manager
    config["useRemoteAddress"] = True
    config["localReplyConfig"] = LOCAL
    config["httpFilters"] = [IDENTITY, CLAIMS, *manager["httpFilters"], *router]
    return made


def compiled(manager: Json) -> Chain:
    message = HttpConnectionManager()
    json_format.ParseDict(manager, message)
    return decode_chain(message.SerializeToString(), KINDS)


def ours(chain: Chain, raw: bytes, facts: Facts) -> Outcome | None:
    """What our decisions come to; None: differs from Envoy's, which leaves two slashes."""
    head = parse_request(raw)
    grpc = is_grpc(head)
    admitted = admit(head.request, chain.admission, facts.identity, "", grpc=grpc)
    if isinstance(admitted, Refusal):
        said = refusal(admitted, grpc=grpc)
        return None if said.location.partition("?")[0] == "/" else said
    if chain.admission.paths.merge_slashes and admitted.path.partition(b"?")[0] == b"/":
        return None
    asked = Asked(admitted, NOBODY, facts, {JWT: {"payload": PAYLOAD}}, grpc=grpc)
    opening = open_chain(chain, asked, {})
    if opening.refusal is not None:
        return refusal(opening.refusal, grpc=grpc)
    notes = dict(opening.notes.get(RBAC, {}))
    return Outcome(200, admitted.path.decode(), notes=json.dumps(notes, sort_keys=True))


def refusal(said: Refusal, *, grpc: bool) -> Outcome:
    own = refused(said, grpc=grpc)
    fields = dict(own.answer.fields)
    location = fields.get(b"location", b"").decode()
    return Outcome(own.answer.status, details=own.details, location=location)


class Client:
    """Asks one listener from one address, over as many connections as that takes."""

    def __init__(self, port: int, source: str) -> None:
        self.port = port
        self.source = source
        self.streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def ask(self, raw: bytes) -> Outcome:
        if self.streams is None:
            self.streams = await asyncio.open_connection(
                "127.0.0.1", self.port, local_addr=(self.source, 0)
            )
        reader, writer = self.streams
        writer.write(raw)
        status, pairs, body = await read_response(reader)
        fields = dict(pairs)
        if fields.get("connection") == "close":
            self.close()
        if body.startswith(b"{"):
            told = json.loads(body)
            notes: Json = {}
            for part in dict(told["fields"])["x-notes"].split("|"):
                notes |= json.loads(part or "{}")
            return Outcome(200, told["path"], notes=json.dumps(notes, sort_keys=True))
        return Outcome(status, details=fields["x-details"], location=fields.get("location", ""))

    def close(self) -> None:
        if self.streams is not None:
            self.streams[1].close()
            self.streams = None


async def differences(seeds: range, requests: int) -> tuple[int, list[str]]:
    """How many requests were compared, and those that went differently."""
    managers = {f"s{seed}": Policies(seed).manager() for seed in seeds}
    found, count = [], 0
    async with echoes(("c",)) as ports:
        listeners = [listener(name, manager) for name, manager in managers.items()]
        async with envoy(bootstrap(listeners, [cluster("c", ports["c"])])) as listening:
            for name, manager in managers.items():
                chain, draws = compiled(manager), Policies(int(name[1:]) + 1_000_000)
                client = Client(listening[name], draws.pick(CLIENTS))
                for _ in range(requests):
                    raw, identity = draws.request()
                    facts = Facts(
                        "HTTP/1.1",
                        (client.source, 0),
                        ("127.0.0.1", client.port),
                        identity,
                    )
                    expected = ours(chain, raw, facts)
                    if expected is None:
                        continue
                    count += 1
                    got = await client.ask(raw)
                    if expected != got:
                        told = f"{client.source}\n{json.dumps(manager)}"
                        found.append(f"{raw.decode()}{told}\n ours: {expected}\nenvoy: {got}\n")
                client.close()
    return count, found


async def test_decisions_are_envoys() -> None:
    count, found = await differences(range(40), requests=12)
    assert count > 450
    assert not found, f"{len(found)} of {count} differ:\n" + "\n".join(found[:10])


@pytest.mark.soak
@pytest.mark.parametrize("start", range(1000, 2000, 200))
async def test_many_decisions_are_envoys(start: int) -> None:
    count, found = await differences(range(start, start + 200), requests=25)
    assert count > 4700
    assert not found, f"{len(found)} of {count} differ:\n" + "\n".join(found[:10])
