"""What a node has besides its daemon: addresses, sockets, balancer, DNS, ZDS."""

from __future__ import annotations

import asyncio
from pathlib import Path

from pyroute2 import IPRoute

from deploy.standalone.config import MeshConfig
from deploy.standalone.runner import wiring
from deploy.standalone.runner.balancer import Balancer
from deploy.standalone.runner.dnsserver import DnsServer
from deploy.standalone.runner.ipam import PodAddresses
from deploy.standalone.runner.netns import NetnsThread
from deploy.standalone.runner.probe import Prober
from deploy.standalone.runner.probesockets import ProbeSockets
from deploy.standalone.runner.resolver import Resolver
from deploy.standalone.runner.wiring import Wire
from ztunnel_compat.drivers.zds_server import ZdsServer
from ztunnel_compat.runtime.tasks import Tasks


class Node:
    """One node of the mesh; its netns must exist."""

    def __init__(
        self, config: MeshConfig, name: str, cgroup_mount: Path, resolver: Resolver
    ) -> None:
        self.config = config
        self.name = name
        self.cgroup_mount = cgroup_mount
        netns = config.node_netns(name)
        self.wiring = NetnsThread(netns)
        self.sockets = NetnsThread(netns)
        self.addresses = PodAddresses(config.node_cidr4(name), config.node_cidr6(name))
        self.probes = ProbeSockets(
            config.probe_cgroup(cgroup_mount, name), netns, config.process_log(f"probes-{name}")
        )
        self.prober = Prober(self.probes.make)
        self.balancer = Balancer(config, name)
        self.dns = DnsServer(resolver)
        self.zds = ZdsServer(config.zds_socket(name))
        self.routes: IPRoute | None = None

    async def start(self, tasks: Tasks) -> None:
        """Open sockets and start what runs in the background. Raises OSError."""
        self.routes = await self.wiring.call(IPRoute)
        await self.dns.start(self.config, self.sockets)
        tasks.spawn(self.zds.run(), f"ZDS of {self.name}")
        tasks.spawn(self.balancer.run(), f"balancer of {self.name}")

    async def plug(self, wire: Wire) -> None:
        """Make a pod's netns and connect it to this node; raises NetworkError."""
        await asyncio.to_thread(wiring.make_pod_side, wire)
        await self.wiring.call(wiring.make_node_side, self.routes, wire)

    async def close(self) -> None:
        """Close sockets and end threads."""
        await self.dns.close()
        await self.probes.stop()
        if self.routes is not None:
            await self.wiring.call(self.routes.close)
        self.balancer.close()
        self.sockets.close()
        self.wiring.close()
