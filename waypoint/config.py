"""The waypoint's settings; nothing else reads the environment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from ztunnel_compat.identity import Identity
from ztunnel_compat.runtime.settings import AuthoritySettings, ProxySettings, Reader

#: Worker processes at most.
MOST_WORKERS = 256
MOST_DESCRIPTORS = 1 << 20
#: How a worker process is told where its parent asks it, and which of its files has the
#: buckets of rate limits; nobody else sets them.
ADMIN_SOCKET = "ADMIN_SOCKET"
BUCKETS = "BUCKETS"


class L4Mode(StrEnum):
    """Who proves callers' identities, and carries what goes to endpoints.

    NODE: the node agent of this pod's node; NONE: nobody, so the waypoint itself, by
    HBONE; SANDWICH: a ztunnel in this pod's network namespace.
    """

    NODE = "node"
    NONE = "none"
    SANDWICH = "sandwich"


class AccessLog(StrEnum):
    """Where lines about requests and connections go; OFF: none are made."""

    STDOUT = "stdout"
    OFF = "off"


@dataclass(frozen=True, slots=True, kw_only=True)
class Config:
    """One waypoint's settings.

    gateway_name: the Gateway, and so the service, that this is an endpoint of; network:
    the Istio network whose addresses its clients ask for; trust_domain: its own, beside
    the aliases those whose clients may come by HBONE; workers: processes that serve;
    memory_share: percent of the memory there is, its cgroup's or the machine's, that they
    may use; admin_socket: this is one of several, and this is where its parent asks it;
    buckets: the file descriptor of what they share.
    """

    proxy: ProxySettings
    gateway_name: str
    authority: AuthoritySettings
    service_account: str = "default"
    l4_mode: L4Mode = L4Mode.NODE
    network: str = ""
    trust_domain: str = "cluster.local"
    trust_domain_aliases: tuple[str, ...] = ()
    access_log: AccessLog = AccessLog.STDOUT
    workers: int = 1
    memory_share: int = 90
    admin_socket: Path | None = None
    buckets: int | None = None

    @property
    def identity(self) -> Identity:
        """The waypoint's own."""
        return Identity(self.trust_domain, self.proxy.pod_namespace, self.service_account)


def read_config(environment: Mapping[str, str]) -> Config:
    """Settings from environment variables; raises ConfigError naming all faults."""
    reader = Reader(environment)
    proxy = reader.proxy()
    mode = reader.choice("L4_MODE", L4Mode.NODE, tuple(L4Mode))
    access_log = reader.choice("ACCESS_LOG", AccessLog.STDOUT, tuple(AccessLog))
    config = Config(
        proxy=proxy,
        gateway_name=reader.required("GATEWAY_NAME", "the Gateway this waypoint belongs to"),
        authority=reader.authority(proxy),
        service_account=reader.optional("SERVICE_ACCOUNT", "default"),
        l4_mode=L4Mode(mode) if mode in tuple(L4Mode) else L4Mode.NODE,
        network=reader.optional("NETWORK", ""),
        trust_domain=reader.optional("TRUST_DOMAIN", "cluster.local"),
        trust_domain_aliases=reader.words("TRUST_DOMAIN_ALIASES"),
        access_log=(
            AccessLog(access_log) if access_log in tuple(AccessLog) else AccessLog.STDOUT
        ),
        workers=max(1, reader.number("WORKERS", 1, MOST_WORKERS)),
        memory_share=max(1, reader.number("MEMORY_SHARE", 90, 100)),
        admin_socket=reader.optional_path(ADMIN_SOCKET, "a unix socket of the parent's"),
        buckets=reader.number(BUCKETS, 0, MOST_DESCRIPTORS) or None,
    )
    reader.check()
    return config
