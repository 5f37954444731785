"""The node agent's composition root."""

from __future__ import annotations

import asyncio
import gc
import logging
import resource
from collections import Counter
from collections.abc import Callable
from contextlib import AsyncExitStack
from pathlib import Path

from prometheus_client import ProcessCollector

from bpf.layout import Listener, Pod
from bpf.loader import Stage
from daemon.agent import Agent
from daemon.config import Config
from daemon.departed import Departed
from daemon.desired import Desired
from daemon.dns import families as dns_families
from daemon.dns import nameservers
from daemon.dns.answers import Answers
from daemon.dns.resolver import Resolver
from daemon.dns.server import DnsServer
from daemon.dns.upstream import Upstream, system_servers
from daemon.dumps import config_dump, tables, tandem_version, used_maps
from daemon.enroll import Enroller
from daemon.locality import Vantage
from daemon.members.api import MembersApi
from daemon.members.cgroups import KernelCgroups
from daemon.members.homes import Homes
from daemon.members.members import Members
from daemon.pod_netns import KernelPodNetns
from daemon.policies.keeper import Keeper
from daemon.program import Programmer
from daemon.scope import ENROLLED, TableName
from daemon.stranded import Stranded
from daemon.telemetry import families
from daemon.telemetry.telemetry import Telemetry
from daemon.tunnel import families as tunnel_families
from daemon.tunnel.authorize import Authorizer
from daemon.tunnel.dial import Dialer
from daemon.tunnel.handover import take
from daemon.tunnel.listeners import Listeners
from daemon.tunnel.outbound import Outbound
from daemon.tunnel.places import PortOwner
from daemon.tunnel.pool import TunnelPool
from daemon.tunnel.routes import Routes
from daemon.tunnel.server import TunnelServer
from daemon.tunnel.sockets import PodSockets
from daemon.upgrade import take_kernel, take_over
from ztunnel_compat.credentials import families as certificate_families
from ztunnel_compat.credentials.holder import Holder
from ztunnel_compat.credentials.secrecy import forbid_dumps
from ztunnel_compat.drivers.ca_client import CaClient
from ztunnel_compat.drivers.login import Login, xds_login
from ztunnel_compat.drivers.mesh_client import MeshClient, NodeInfo
from ztunnel_compat.drivers.zds_client import ZdsClient
from ztunnel_compat.policy_state import PolicyState
from ztunnel_compat.runtime.admin import Admin
from ztunnel_compat.runtime.memory import keep_buffers
from ztunnel_compat.runtime.metrics import MetricsServer
from ztunnel_compat.runtime.tasks import Tasks, until_signal
from ztunnel_compat.state import Changes, WorkloadState

logger = logging.getLogger(__name__)


async def run(config: Config) -> None:
    """Serve one node until SIGTERM or SIGINT, then leave everything pinned.

    What there can be one of on a node is given up at once. Tunnels go on for a while, and
    a successor gets the sockets that listen for them; another signal ends that.
    Raises ProcessError when the node can't be served.
    """
    forbid_dumps()
    keep_buffers()
    # Every pod has sockets here, every tunnel, and every DNS query that waits.
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    async with AsyncExitStack() as stack:
        tasks = await stack.enter_async_context(Tasks())
        tunnels = await serve_node(config, stack, tasks)
        draining = tasks.spawn(
            tunnels.drain(config.handover_path, config.drain_seconds), "the end of tunnels"
        )
        again = tasks.spawn(until_signal(), "another signal")
        await tasks.wait(asyncio.wait({draining, again}, return_when=asyncio.FIRST_COMPLETED))


async def serve_node(
    config: Config, lasting: AsyncExitStack, tunnelling: Tasks
) -> TunnelServer:
    """Serve one node until SIGTERM or SIGINT; its tunnels, which take nothing new.

    lasting, tunnelling: what tunnels need, and their tasks, to the end: the control plane
    is heard for as long, so that a push ends those that it denies.
    """
    async with AsyncExitStack() as stack:
        # First, so that a second agent on the node ends before it attaches anything.
        admin = Admin()
        stack.push_async_callback(admin.close)
        await admin.start()
        metrics = MetricsServer()
        stack.push_async_callback(metrics.close)
        await metrics.start()
        admin.unready = "loading the kernel programs"
        staged, maps, programmed = await asyncio.to_thread(take_kernel, config)
        lasting.callback(maps.close)

        state = WorkloadState()
        vantage = Vantage(
            config.network,
            config.proxy.node_name,
            config.proxy.cluster_id,
            same_node_mtls=config.same_node_mtls,
        )
        adopted: dict[TableName, dict[bytes, bytes]] = {
            table: programmed.of(table) for table in ENROLLED
        }
        desired = Desired(state, vantage, adopted)
        policies = PolicyState()
        keeper = Keeper(
            maps,
            mesh=state,
            policies=policies,
            network=config.network,
            set_chunks=config.sizes.set_chunks,
            live=lambda: map(Pod.unpack, programmed.pods.values()),
        )
        stack.callback(keeper.close)
        agent = Agent(desired, Programmer(maps, programmed), keeper, Stranded(maps.replies))
        telemetry = Telemetry(
            maps,
            state,
            config.access_log_rate,
            agent.ready,
            (Pod.unpack(raw).workload for raw in programmed.pods.values()),
        )
        stack.callback(telemetry.close)

        tasks = await stack.enter_async_context(Tasks())
        dns = DnsServer(
            state=state,
            network=config.network,
            resolver=Resolver(Answers(state, config.cluster_domain)),
            upstream=Upstream(config.dns_upstream or system_servers()),
            tasks=tasks,
            ready=agent.ready,
        )
        nameservers.write(maps.nameservers, dns.upstream.servers)
        stack.push_async_callback(dns.drain)

        followers: list[Callable[[Changes], None]] = []

        def on_change(changes: Changes) -> None:
            for follow in followers:
                follow(changes)

        mesh = MeshClient(
            server=xds_login(config.proxy),
            node=NodeInfo.of("ztunnel", config.proxy),
            state=state,
            policies=policies,
            on_change=on_change,
        )
        credentials = certificates(config, tunnelling)
        tunnels = make_tunnels(
            config,
            mesh=mesh,
            telemetry=telemetry,
            sockets=PodSockets(maps.marks),
            credentials=credentials,
            tasks=tunnelling,
            inherited=await take(config.handover_path),
            owner_of=lambda port: maps.listeners.get(Listener(port)),
        )
        lasting.callback(tunnels.sockets.close)
        followers += (
            *(telemetry.names.on_change, agent.on_change, dns.on_change),
            tunnels.on_change,
        )
        departed = Departed(maps.flows, tasks)
        stack.callback(departed.close)
        enroller = Enroller(
            config.proxy.cluster_id,
            desired,
            agent.programmer,
            KernelPodNetns(config.pin_dir, staged),
            departed,
            dns=dns,
            tunnels=tunnels,
            trust_domain=config.trust_domain,
            keeper=keeper,
        )
        enroller.followers.append(telemetry)
        complete_metrics(
            telemetry,
            agent=agent,
            mesh=mesh,
            dns=dns,
            credentials=credentials,
            tunnels=tunnels,
        )
        metrics.sources.append(telemetry.source)
        if config.members_path is not None:
            members = Members(
                cluster=config.proxy.cluster_id,
                maps=maps,
                desired=desired,
                programmer=agent.programmer,
                keeper=keeper,
                record=config.members_path.with_suffix(".json"),
                homes=Homes(KernelCgroups(config.pin_dir, config.cgroup_root), tunnels),
                tell=mesh.tell_members,
                disown=departed.disown,
            )
            await serve_members(members, config.members_path, stack)
            tasks.spawn(members.run(agent.ready), "membership of cgroups")
        zds = ZdsClient(config.zds_path, enroller)
        admin.pages["/config_dump"] = lambda: config_dump(
            config=config,
            mesh=mesh,
            zds=zds,
            enroller=enroller,
            agent=agent,
            maps=maps,
            certificates=credentials,
            tunnels=tunnels,
        )
        admin.pages["/debug/tables"] = lambda: tables(programmed, state)
        admin.unready = f"no complete push from {config.proxy.xds_address} yet"
        tasks.spawn(zds.run(), "enrolment")
        tunnelling.spawn(mesh.run(), "xDS client")
        tasks.spawn(agent.run(mesh.synced), "reconciliation")
        tasks.spawn(keeper.run(), "policy enforcement")
        telemetry.spawn(tasks)
        tasks.spawn(dns.run(), "DNS")
        tunnelling.spawn(tunnels.authorizer.run(), "policy enforcement of tunnels")
        tasks.spawn(announce(agent, enroller, staged, admin), "readiness")
        tasks.spawn(tunnelling.wait(), "tunnels")
        await tasks.wait(until_signal())
        logger.info("stopping; the kernel programs and maps stay in force")
        followers[:] = [tunnels.on_change]
        let_last(mesh, tunnels, telemetry, lasting)
        return tunnels


def complete_metrics(
    telemetry: Telemetry,
    *,
    agent: Agent,
    mesh: MeshClient,
    dns: DnsServer,
    credentials: Holder,
    tunnels: TunnelServer,
) -> None:
    """Have the metrics show what isn't about connections, too."""
    totals = agent.keeper.sets.totals
    telemetry.others.maps = lambda: used_maps(agent.programmer)
    telemetry.others.families += (
        lambda: families.xds(mesh.terminations, mesh.messages, mesh.bytes),
        lambda: families.build("ztunnel", tandem_version()),
        ProcessCollector(registry=None).collect,
        lambda: dns_families.collect(dns.metrics),
        lambda: certificate_families.collect(credentials),
        lambda: tunnel_families.collect(tunnels),
    )
    authorizer = tunnels.authorizer
    telemetry.others.policy = agent.keeper.sets.policy_of
    telemetry.others.denied = lambda: Counter(totals.by_policy(dry=False)) + authorizer.denied
    telemetry.others.dry_run = lambda: Counter(totals.by_policy(dry=True)) + authorizer.dry_run


def let_last(
    mesh: MeshClient, tunnels: TunnelServer, telemetry: Telemetry, lasting: AsyncExitStack
) -> None:
    """Take no new tunnels; those that are open go on, and are logged when they end.

    Which members are served, a successor says.
    """
    mesh.tell_members(None)
    tunnels.stop_accepting()
    lasting.callback(telemetry.log.write_added)
    tunnels.tasks.spawn(telemetry.log.run_added(), "access log of tunnels")


def certificates(config: Config, tasks: Tasks) -> Holder:
    """The certificates of the node's service accounts."""
    authority = Login(
        config.ca_address,
        config.ca_root_ca,
        config.proxy.token_path,
        config.proxy.cluster_id,
    )
    return Holder(CaClient(authority).fetch, tasks)


def make_tunnels(
    config: Config,
    *,
    mesh: MeshClient,
    telemetry: Telemetry,
    sockets: PodSockets,
    credentials: Holder,
    tasks: Tasks,
    inherited: dict[int, Listeners],
    owner_of: PortOwner,
) -> TunnelServer:
    """Both ends of tunnels, without a pod yet."""

    def netns_of(cookie: int) -> int | None:
        return tunnels.netns_of(cookie)

    pool = TunnelPool(Dialer(sockets, credentials, netns_of).connect, tasks)
    credentials.followers.append(pool.forget)
    tunnels = TunnelServer(
        mesh=mesh.state,
        network=config.network,
        credentials=credentials,
        authorizer=Authorizer(mesh.state, mesh.policies, mesh.synced),
        sockets=sockets,
        outbound=Outbound(
            routes=Routes(mesh.state, telemetry.names.service),
            pool=pool,
            tunnels=telemetry.tunnels,
            tasks=tasks,
        ),
        telemetry=telemetry.tunnels,
        tasks=tasks,
        trust_domains=frozenset((config.trust_domain, *config.trust_domain_aliases)),
        inherited=inherited,
        tellers=1 if config.members_path is None else 2,
        owner_of=owner_of,
    )
    return tunnels


async def serve_members(members: Members, path: Path, stack: AsyncExitStack) -> None:
    """Let cgroups be enrolled until the stack is left; raises ListenError."""
    api = MembersApi(members, path)
    stack.push_async_callback(api.close)
    await api.start()


async def announce(agent: Agent, enroller: Enroller, staged: Stage, admin: Admin) -> None:
    """Tell probes when the agent gets ready, and put in force what waits for that."""
    await agent.ready.wait()
    admin.unready = "waiting for ZDS to tell of the node's pods"
    await take_over(staged, enroller.told)
    # The mesh lives long: the garbage collector needn't walk all of it at each turn.
    gc.freeze()
    admin.unready = ""
    logger.info("ready")
