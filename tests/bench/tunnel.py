"""Between two nodes: HBONE, beside no mesh, beside a plain pair of TLS proxies, and, where
there is one (see tests/support/ztunnel.py), beside two stock ztunnels.

No mesh: client and server in network namespaces of the same two nodes, outside their
cgroups, by the server's own address. The pair: one nginx at each end, stream modules,
mutual TLS 1.3 between them, one process each: what the encryption alone costs.
"""

from __future__ import annotations

import json
import statistics
import subprocess
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.standalone.config import MeshConfig
from deploy.standalone.runner import cgroups
from tests.bench.l4 import nginx, on_core, outside, reuse_ports
from tests.bench.measure import (
    TICKS,
    Entry,
    Sample,
    busy_seconds,
    compare,
    in_turn,
    wrk,
)
from tests.e2e.manifests import documents, idle, namespace, service
from tests.support.certificates import Authority
from tests.support.mesh import MeshHandle
from tests.support.ztunnel import ZtunnelMesh, program

ROUNDS = 7
CLOSE = ("-H", "connection: close")
GIGABYTE = 1e9
NEAR, FAR = "node1", "node2"
#: Whose agents are ztunnels.
ZTUNNELS = ("node3", "node4")

Inside = Callable[[Sequence[str]], list[str]]


def manifests() -> dict[str, str]:
    """The mesh's files."""
    return {
        "tunnel.yaml": documents(
            namespace("far", dataplane_mode="ambient"),
            *(beside_ztunnel() if program() else ()),
            namespace("plain"),
            idle("client", "far", node=NEAR),
            idle("server", "far", node=FAR),
            service("web", 80, 8080, namespace="far", selector="app: server"),
            service("iperf", 5201, 5201, namespace="far", selector="app: server"),
            idle("client", "plain", node=NEAR),
            idle("server", "plain", node=FAR),
        )
    }


def beside_ztunnel() -> tuple[str, ...]:
    """The same pods and services at ztunnels' nodes."""
    near, far = ZTUNNELS
    return (
        namespace("ztunnel", dataplane_mode="ambient"),
        idle("client", "ztunnel", node=near),
        idle("server", "ztunnel", node=far),
        service("web", 80, 8080, namespace="ztunnel", selector="app: server"),
        service("iperf", 5201, 5201, namespace="ztunnel", selector="app: server"),
    )


def make(name: str, folder: Path, octet: int, options: Sequence[str]) -> MeshHandle:
    """The mesh, with nodes for ztunnels where there is one."""
    if program() is None:
        return MeshHandle(name, folder, octet, 2, options)
    return ZtunnelMesh((name, folder, octet), 4, ZTUNNELS, options)


@dataclass(frozen=True, slots=True)
class Route:
    """One way from a client to a server.

    near, far: the processes that do the work at either end, for their CPU time; short: for
    names of entries.
    """

    name: str
    short: str
    client: Inside
    web: str
    bulk: tuple[str, int]
    near: tuple[int, ...] = ()
    far: tuple[int, ...] = ()


@dataclass(slots=True)
class Ends:
    """CPU time per operation of each end's processes, a value for each round."""

    near: list[float]
    far: list[float]


def run(mesh: MeshHandle, scratch: Path) -> list[Entry]:
    """Every case."""
    with ExitStack() as stack:
        routes = open_routes(mesh, scratch, stack)
        entries: list[Entry] = []
        for name, unit, per, measured in cases():
            print(f"bench: {name}", flush=True)
            entries += measure(name, unit, per, routes, measured)
        return entries


def cases() -> list[tuple[str, str, str, Callable[[Route], Sample]]]:
    """Name, unit, what CPU time is told for, and one round of it."""

    def requests(*options: str) -> Callable[[Route], Sample]:
        return lambda route: wrk(route.client, route.web, *options)

    def bulk(streams: int) -> Callable[[Route], Sample]:
        return lambda route: iperf(route, streams)

    return [
        ("tunnel.rr1", "requests/s", "request", requests("-c1")),
        ("tunnel.rr16", "requests/s", "request", requests("-c16")),
        ("tunnel.crr", "connections/s", "connection", requests("-c1", *CLOSE)),
        ("tunnel.throughput1", "GB/s", "GB", bulk(1)),
        ("tunnel.throughput4", "GB/s", "GB", bulk(4)),
    ]


def measure(
    name: str, unit: str, per: str, routes: Sequence[Route], once: Callable[[Route], Sample]
) -> list[Entry]:
    """One case: the ratios to no mesh, and each end's CPU time beside the pair's."""
    ends = {route.name: Ends([], []) for route in routes}

    def round_of(route: Route) -> Sample:
        near, far = cpu_seconds(route.near), cpu_seconds(route.far)
        busy = busy_seconds()
        sample = once(route)
        busy = busy_seconds() - busy
        operations = busy * 1e6 / sample.cpu_us
        ends[route.name].near.append((cpu_seconds(route.near) - near) * 1e6 / operations)
        ends[route.name].far.append((cpu_seconds(route.far) - far) * 1e6 / operations)
        return sample

    plain, ours, *others = routes
    samples = in_turn(ROUNDS, {r.name: lambda r=r: round_of(r) for r in routes})
    entries = [compare(name, unit, samples, ours.name, plain.name)]
    for other in others:
        entries.append(compare(f"{name}.{other.short}", unit, samples, other.name, plain.name))
        for end in ("near", "far"):
            mine = statistics.median(getattr(ends[ours.name], end))
            theirs = statistics.median(getattr(ends[other.name], end))
            entries.append(
                Entry(
                    f"{name}.{other.short}.cpu.{end}",
                    round(mine, 1),
                    f"CPU µs/{per}",
                    other.name,
                    round(theirs / mine, 3) if mine else 0.0,
                    round(mine, 2),
                )
            )
    return entries


def open_routes(mesh: MeshHandle, scratch: Path, stack: ExitStack) -> list[Route]:
    """Start servers and the pair of proxies; the three ways, no mesh first."""
    plain_client, plain_server = mesh.pod("client", "plain"), mesh.pod("server", "plain")
    plain_address = next(ip for ip in plain_server["ips"] if ":" not in ip)
    reuse_ports(plain_client, plain_server)

    def without(command: Sequence[str]) -> list[str]:
        return outside(plain_client["netns"])([*on_core(0), *command])

    def meshed(name: str, place: str, near: str, far: str) -> Route:
        client, server = mesh.pod("client", place), mesh.pod("server", place)
        serve(place, lambda command: mesh.argv(server, command))

        def vip(service: str) -> str:
            found = mesh.run("client", "getent", "ahostsv4", service, namespace=place).stdout
            return found.split()[0]

        return Route(
            name,
            place,
            lambda command: mesh.argv(client, [*on_core(0), *command]),
            f"http://{vip('web')}/",
            (vip("iperf"), 5201),
            daemon(mesh, near),
            daemon(mesh, far),
        )

    def serve(name: str, inside: Inside) -> None:
        stack.enter_context(nginx(scratch, name, inside))
        stack.enter_context(ended(inside([*on_core(1), "iperf3", "--server"])))

    serve("plain", outside(plain_server["netns"]))
    authority = Authority()
    near, far = stack.enter_context(
        proxies(scratch, authority, plain_client["netns"], plain_server["netns"], plain_address)
    )
    ztunnels = []
    if isinstance(mesh, ZtunnelMesh):
        mesh.redirect(mesh.pod("client", "ztunnel"), mesh.pod("server", "ztunnel"))
        ztunnels = [meshed("ztunnel", "ztunnel", *ZTUNNELS)]
    return [
        Route(
            "no mesh", "plain", without, f"http://{plain_address}:8080/", (plain_address, 5201)
        ),
        meshed("tunnel", "far", NEAR, FAR),
        *ztunnels,
        Route(
            "TLS proxies",
            "proxies",
            without,
            "http://127.0.0.1:18080/",
            ("127.0.0.1", 15201),
            (near,),
            (far,),
        ),
    ]


@contextmanager
def ended(argv: Sequence[str]) -> Iterator[int]:
    """A process for as long as the block runs."""
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL) as process:
        try:
            yield process.pid
        finally:
            process.terminate()


@contextmanager
def proxies(
    scratch: Path, authority: Authority, near: str, far: str, address: str
) -> Iterator[tuple[int, int]]:
    """Two nginx with mutual TLS 1.3 between them; their processes."""
    tls = scratch / "tls"
    tls.mkdir()
    authority.write(tls, "proxy", "spiffe://cluster.local/ns/plain/sa/default")
    common = (
        f"ssl_protocols TLSv1.3; proxy_ssl_protocols TLSv1.3;\n"
        f"ssl_certificate {tls}/proxy.pem; ssl_certificate_key {tls}/proxy.key;\n"
        f"ssl_client_certificate {tls}/roots.pem; ssl_verify_client on;\n"
        f"proxy_ssl_certificate {tls}/proxy.pem; proxy_ssl_certificate_key {tls}/proxy.key;\n"
        f"proxy_ssl_trusted_certificate {tls}/roots.pem; proxy_ssl_verify on;\n"
        "proxy_ssl_name proxy; proxy_ssl_session_reuse on;\n"
    )
    ends = {
        "near": "".join(
            f"server {{ listen 127.0.0.1:{here}; proxy_ssl on;"
            f" proxy_pass {address}:{there}; }}\n"
            for here, there in ((18080, 19080), (15201, 19201))
        ),
        "far": "".join(
            f"server {{ listen {here} ssl; proxy_pass 127.0.0.1:{there}; }}\n"
            for here, there in ((19080, 8080), (19201, 5201))
        ),
    }
    with ExitStack() as stack:
        found = []
        for core, (end, netns) in enumerate((("near", near), ("far", far))):
            config = scratch / f"proxy-{end}.conf"
            config.write_text(
                "load_module /usr/lib/nginx/modules/ngx_stream_module.so;\n"
                f"daemon off; master_process off; pid {scratch}/proxy-{end}.pid;\n"
                f"error_log {scratch}/proxy-{end}.log;\n"
                "events { worker_connections 4096; }\n"
                f"stream {{ {common}{ends[end]} }}\n"
            )
            argv = [*on_core(core), "/usr/sbin/nginx", "-c", str(config)]
            found.append(stack.enter_context(ended(outside(netns)(argv))))
        yield found[0], found[1]


def daemon(mesh: MeshHandle, node: str) -> tuple[int, ...]:
    """The processes of a node's agent, as an operator would find them."""
    cgroup = MeshConfig(name=mesh.name).node_cgroup(cgroups.mounted(), node) / "daemon"
    return tuple(cgroups.processes(cgroup))


def cpu_seconds(processes: Sequence[int]) -> float:
    """CPU time that processes have taken so far."""
    total = 0
    for process in processes:
        fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def iperf(route: Route, streams: int) -> Sample:
    """One run of iperf3; GB/s, and busy CPU microseconds per GB."""
    address, port = route.bulk
    argv = ["iperf3", "-c", address, "-p", str(port), "-P", str(streams), "-t", "2", "-J"]
    busy = busy_seconds()
    done = subprocess.run(route.client(argv), capture_output=True, text=True, check=False)
    busy = busy_seconds() - busy
    if done.returncode:
        raise RuntimeError(f"{route.name}: iperf3: {done.stdout[-300:]}{done.stderr}")
    received = json.loads(done.stdout)["end"]["sum_received"]
    gigabytes = received["bytes"] / GIGABYTE
    return Sample(gigabytes / received["seconds"], busy * 1e6 / gigabytes)
