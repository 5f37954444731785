"""What is attached to a port without requests to Envoy's Listener."""

from __future__ import annotations

from typing import Any

from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from deploy.standalone.control.translate.attached import Chain, Share, cluster_name
from deploy.standalone.control.translate.matching import SOURCE_FILTER
from deploy.standalone.control.translate.sight import PODS

TCP_PROXY = "envoy.filters.network.tcp_proxy"
#: What the waypoint reads for connections to workloads' own addresses; their clusters
#: have no names.
POD_LISTENER = "inbound-pod|tcp"
POD_CLUSTER = "inbound-pod"


def listener_name(port: int, hostname: str) -> str:
    """The name of a service port's Listener."""
    return POD_LISTENER if port == PODS else f"inbound-vip|{port}|tcp|{hostname}"


def own_chain(hostname: str, port: int) -> tuple[Chain, ...]:
    """What holds where no route says anything: everything goes to the port itself."""
    name = POD_CLUSTER if port == PODS else cluster_name(port, hostname)
    return (Chain(name, (), (Share(name, 1),)),)


def listener(
    hostname: str, port: int, chains: tuple[Chain, ...], access: tuple[Any, ...] = ()
) -> Any:
    """The Listener of a service's port; connections that no chain is for are closed.

    Where chains are for some namespaces only, the rest goes to the port itself. access:
    filters that every chain has in front.
    """
    message = Listener(name=listener_name(port, hostname))
    if all(chain.namespaces for chain in chains):
        chains += own_chain(hostname, port)
    for chain in chains:
        message.filter_chains.append(filter_chain(chain, access))
    return message


def filter_chain(chain: Chain, access: tuple[Any, ...]) -> Any:
    """Connections to some servers' names, or to any."""
    proxy = TcpProxy(stat_prefix=chain.name)
    shares = [share for share in chain.shares if share.weight]
    if len(shares) == 1:
        proxy.cluster = shares[0].cluster
    else:
        for share in shares:
            proxy.weighted_clusters.clusters.add(name=share.cluster, weight=share.weight)
    found = Filter(name=TCP_PROXY)
    found.typed_config.Pack(proxy, deterministic=True)
    message = FilterChain(name=chain.name, filters=[*access, found] if shares else [])
    message.filter_chain_match.server_names.extend(chain.names)
    if chain.namespaces:
        source = message.metadata.filter_metadata[SOURCE_FILTER]
        source.get_or_create_list("namespaces").extend(chain.namespaces)
    return message
