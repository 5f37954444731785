"""Chains for what isn't HTTP: by the name that TLS asks for, by weight."""

from __future__ import annotations

import pytest
from envoy.config.listener.v3 import listener_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2  # noqa: F401
from google.protobuf import json_format

from tests.waypoint.layers.test_sniff import hello
from tests.waypoint.mesh import (
    CLIENT,
    HTTP_PORT,
    NAMESPACE,
    TCP_PORT,
    Mesh,
    hostname,
    running,
    service,
)
from tests.waypoint.wire import Peer, client, upstream
from waypoint.errors import RouteError
from waypoint.streams import TYPE_URL, decode_streams
from ztunnel_compat.model import AppProtocol, Extension, Workload
from ztunnel_compat.names import name_hash

PROXY = "type.googleapis.com/envoy.extensions.filters.network.tcp_proxy.v3.TcpProxy"


def cluster(name: str, port: int = HTTP_PORT) -> str:
    return f"outbound|{port}||{hostname(name)}"


def chain(to: str | dict[str, int], *names: str, **more: object) -> dict[str, object]:
    """A filter chain's JSON; to: a cluster, or some by their weights."""
    proxy: dict[str, object] = {"@type": PROXY, "statPrefix": "x"}
    if isinstance(to, str):
        proxy["cluster"] = to
    else:
        weights = [{"name": name, "weight": weight} for name, weight in to.items()]
        proxy["weightedClusters"] = {"clusters": weights}
    made: dict[str, object] = {"filters": [{"name": "tcp", "typedConfig": proxy}], **more}
    if names:
        made["filterChainMatch"] = {"serverNames": list(names)}
    return made


def listener(*chains: dict[str, object]) -> bytes:
    message = listener_pb2.Listener()
    json_format.ParseDict({"name": "l", "filterChains": list(chains)}, message)
    return message.SerializeToString()


def extension(name: str, port: int, *chains: dict[str, object]) -> Extension:
    title = f"inbound-vip|{port}|tcp|{hostname(name)}"
    return Extension(title, TYPE_URL, listener(*chains))


@pytest.mark.parametrize(
    ("name", "found"),
    [
        ("a.example", "exact"),
        ("b.example", "wild"),
        ("b.deep.example", "deeper"),
        ("deep.example", "wild"),
        (".example", "default"),
        ("example", "default"),
        ("", "default"),
    ],
)
def test_the_most_specific_name_wins(name: str, found: str) -> None:
    table = decode_streams(
        listener(
            chain("default"),
            chain("wild", "*.example"),
            chain("deeper", "*.deep.example", "other"),
            chain("exact", "A.example"),
        )
    )
    chosen = table.find(name, "")
    assert chosen is not None
    assert [c.name for c in chosen.forward.clusters] == [found]
    assert table.cluster_names() == {"default", "wild", "deeper", "exact"}


def test_without_a_default_some_names_lead_nowhere() -> None:
    assert decode_streams(listener(chain("c", "a"))).find("b", "") is None


def of(namespaces: object, to: str, *names: str) -> dict[str, object]:
    """A chain for some namespaces' connections."""
    source = {"tandem.io/source": {"namespaces": namespaces}}
    return chain(to, *names, metadata={"filterMetadata": source})


@pytest.mark.parametrize(
    ("name", "namespace", "found"),
    [
        ("a.example", "", "all"),
        ("a.example", "other", "all"),
        ("x", "", "default"),
        ("a.example", "shop", "shop"),
        ("a.example", "store", "stores"),
        ("x", "store", "store"),
        # Its own decide alone.
        ("x", "shop", None),
    ],
)
def test_a_namespace_s_own_chains_decide_alone(
    name: str, namespace: str, found: str | None
) -> None:
    table = decode_streams(
        listener(
            of(["shop"], "shop", "a.example"),
            of(["store"], "stores", "*.example"),
            of(["store", "third"], "store"),
            chain("all", "a.example"),
            chain("default"),
        )
    )
    chosen = table.find(name, namespace)
    assert (chosen and chosen.forward.clusters[0].name) == found
    assert table.cluster_names() == {"shop", "stores", "store", "all", "default"}


@pytest.mark.parametrize(
    ("chains", "reason"),
    [
        ([chain("c"), chain("d")], "a second chain without names"),
        ([chain("c", "a"), chain("d", "A")], "server_names"),
        ([chain("c", "a.*.b")], "server_names"),
        ([{"filters": []}], "filters"),
        ([of("shop", "c")], "list of namespaces"),
        ([of([], "c")], "list of namespaces"),
        ([of([""], "c")], "list of namespaces"),
        ([of([1], "c")], "list of namespaces"),
        (
            [chain("c", metadata={"filterMetadata": {"tandem.io/source": {"names": ["a"]}}})],
            "list of namespaces",
        ),
        (
            [chain("c", metadata={"filterMetadata": {"tandem.io/source": {}}})],
            "list of namespaces",
        ),
        ([of(["a"], "c"), of(["b", "a"], "d")], "a second chain without names"),
        ([chain({})], "weights"),
        ([chain("c", transportSocketConnectTimeout="1s")], "transport_socket_connect_timeout"),
    ],
)
def test_what_can_t_be_honoured_is_named(chains: list[dict[str, object]], reason: str) -> None:
    with pytest.raises(RouteError, match=reason):
        decode_streams(listener(*chains))


def test_bytes_that_are_no_listener() -> None:
    with pytest.raises(RouteError):
        decode_streams(b"\xff")


async def says(peer: Peer, word: bytes) -> None:
    await peer.reader.read(4096)
    await peer.send(word)


def both(mesh: Mesh, one: int, two: int) -> None:
    mesh.push(service("v1"), service("v2"))
    mesh.pod("one", "v1", one)
    mesh.pod("two", "v2", two)


async def test_tls_goes_by_its_server_s_name() -> None:
    async with (
        running() as mesh,
        upstream(lambda peer: says(peer, b"1")) as one,
        upstream(lambda peer: says(peer, b"2")) as two,
    ):
        both(mesh, one.port, two.port)
        chains = (chain(cluster("v1"), "one.example"), chain(cluster("v2"), "*.two.example"))
        made = extension("web", HTTP_PORT, *chains)
        mesh.push(service("web", made, speaks=AppProtocol.TLS))
        mesh.ask("web")
        for name, answer in (("one.example", b"1"), ("x.two.example", b"2")):
            async with client(mesh) as peer:
                await peer.send(hello(name))
                assert await peer.rest() == answer
        async with client(mesh) as peer:
            await peer.send(hello("else.example"))
            with pytest.raises(ConnectionResetError):
                await peer.rest()
        assert mesh.worker.stats.refused == {"no_route": 1}


async def test_connections_are_split_by_weight_and_bad_chains_close() -> None:
    async with (
        running() as mesh,
        upstream(lambda peer: says(peer, b"1")) as one,
        upstream(lambda peer: says(peer, b"2")) as two,
    ):
        both(mesh, one.port, two.port)
        weights = {cluster("v1"): 0, cluster("v2"): 1}
        mesh.push(service("web", extension("web", TCP_PORT, chain(weights))))
        mesh.ask("web", TCP_PORT)
        async with client(mesh) as peer:
            await peer.send(b"x")
            assert await peer.rest() == b"2"
        # What is in force stays when what comes can't be honoured.
        mesh.push(service("web", extension("web", TCP_PORT, {"filters": []})))
        async with client(mesh) as peer:
            await peer.send(b"x")
            assert await peer.rest() == b"2"
        assert "filters" in next(iter(mesh.worker.targets.errors().values()))


async def test_the_proven_namespace_of_the_client_decides() -> None:
    async with (
        running() as mesh,
        upstream(lambda peer: says(peer, b"1")) as one,
        upstream(lambda peer: says(peer, b"2")) as two,
    ):
        both(mesh, one.port, two.port)
        made = extension("web", TCP_PORT, of([NAMESPACE], cluster("v1")), chain(cluster("v2")))
        mesh.push(
            service("web", made),
            Workload(uid="w", name="w", namespace="other", addresses=(b"\x0a\0\0\1",)),
        )
        mesh.ask("web", TCP_PORT)
        for source, answer in ((CLIENT, b"1"), ("w", b"2"), (CLIENT, b"1")):
            mesh.source = name_hash(source)
            async with client(mesh) as peer:
                await peer.send(b"x")
                assert await peer.rest() == answer
