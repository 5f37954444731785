"""What is attached to a port without requests to Envoy's Listener."""

from __future__ import annotations

from typing import Any

from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import TcpProxy

from deploy.standalone.control.translate.attached import Chain

TCP_PROXY = "envoy.filters.network.tcp_proxy"


def listener_name(port: int, hostname: str) -> str:
    """The name of a service port's Listener."""
    return f"inbound-vip|{port}|tcp|{hostname}"


def listener(hostname: str, port: int, chains: tuple[Chain, ...]) -> Any:
    """The Listener of a service's port; connections that no chain is for are closed."""
    message = Listener(name=listener_name(port, hostname))
    for chain in chains:
        message.filter_chains.append(filter_chain(chain))
    return message


def filter_chain(chain: Chain) -> Any:
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
    message = FilterChain(name=chain.name, filters=[found] if shares else [])
    message.filter_chain_match.server_names.extend(chain.names)
    return message
