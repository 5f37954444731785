"""The waypoint beside Envoy: requests through each to the same kind of server.

Tandem: an enrolled client calls a service, whose waypoint routes by 200 routes and
knows the caller, and connects to an enrolled server. Envoy: a client, Envoy with one
worker, the same 200 routes and the same policies, the caller's address in the place of
its identity, and a server, each in a network namespace of the same node, outside the
mesh. Neither writes an access log. The proxies have a core for themselves; load generator
and servers share the other.
"""

from __future__ import annotations

import re
import statistics
import subprocess
import sys
import textwrap
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from deploy.standalone.runner import cgroups
from tests.bench.l4 import on_core, outside, reuse_ports
from tests.bench.measure import Entry, Sample, in_turn
from tests.bench.policies import (
    Issuer,
    caller_policy,
    envoy_caller,
    envoy_filters,
    listed,
    make_issuer,
    mesh_policies,
)
from tests.bench.tunnel import cpu_seconds, ended
from tests.e2e.manifests import documents, gateway, idle, namespace, route, service
from tests.support.mesh import MeshHandle, eventually

ROUNDS = 5
SECONDS = 3
ROUTES = 200
#: Routes that an HTTPRoute may have (Gateway API).
RULES_OF_ONE = 10
NAME = "waypoints"
#: Where gRPC's service is.
CALL = "/bench.Echo"
#: Paths that a run has, each once or twice: more than any memo keeps.
UNIQUE = 100_000
HEADERS = {
    "accept": "application/json",
    "accept-encoding": "gzip, deflate, br",
    "accept-language": "en-GB,en;q=0.5",
    "user-agent": "bench/1.0 (Linux; x86_64)",
    "x-tenant": "blue",
    "x-session": "0b1e4c8f-6a53-4a5e-9f39-8d2f0a3cb7a1",
    "cache-control": "no-cache",
    "x-client-version": "2.18.4",
    "x-feature-flags": "a,b,c",
}
GRPC = {"content-type": "application/grpc", "te": "trailers", "user-agent": "grpc-c/1.0"}

#: Whether what a service's port speaks is HTTP/2; and Envoy's port in its place.
SERVICES = {"web": False, "web2": True, "guarded": False, "guarded2": True}
PORTS = {"web": 80, "web2": 81, "guarded": 82, "guarded2": 83}
CALLER = f"cluster.local/ns/{NAME}/sa/default"

Inside = Callable[[Sequence[str]], list[str]]


def path_of(number: int) -> str:
    """Where a route leads from."""
    return f"/api/v{number}/items"


def manifests() -> dict[str, str]:
    """The mesh's files."""
    issuer = make_issuer()
    routes = [text for name in SERVICES for text in routes_of(name)]
    policies = [
        text
        for name in SERVICES
        for text in (
            mesh_policies(name, NAME, CALLER, issuer)
            if name.startswith("guarded")
            else [caller_policy(name, NAME, CALLER)]
        )
    ]
    return {
        "waypoint.yaml": documents(
            namespace(NAME, dataplane_mode="ambient", use_waypoint="gate"),
            namespace("plain"),
            gateway("gate", NAME),
            idle("client", NAME),
            idle("server", NAME),
            *(
                service(
                    name,
                    80,
                    8080 + http2,
                    namespace=NAME,
                    port_name="http2" if http2 else "http",
                    selector="app: server",
                )
                for name, http2 in SERVICES.items()
            ),
            *routes,
            *policies,
            idle("client", "plain"),
            idle("envoy", "plain"),
            idle("server", "plain"),
        )
    }


def routes_of(name: str) -> list[str]:
    """A service's routes, all of which lead to itself."""
    rules = [
        f"- matches:\n  - path:\n      type: PathPrefix\n      value: {path}\n"
        f"  backendRefs:\n  - name: {name}\n    port: 80\n"
        for path in [*(path_of(number) for number in range(ROUTES)), CALL]
    ]
    return [
        route(f"{name}-{start}", name, "".join(rules[start : start + RULES_OF_ONE]), NAME)
        for start in range(0, len(rules), RULES_OF_ONE)
    ]


@dataclass(frozen=True, slots=True)
class Proxy:
    """One way from a client through a proxy to a server.

    urls: by service; pids: the proxy's.
    """

    name: str
    client: Inside
    urls: dict[str, str]
    pids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Run:
    """What one run of h2load told; latencies in microseconds."""

    rate: float
    requests: int
    latencies: tuple[int, ...] = ()


def run(mesh: MeshHandle, scratch: Path) -> list[Entry]:
    """Every case."""
    issuer = make_issuer()
    with ExitStack() as stack:
        ours, envoy = open_proxies(mesh, scratch, stack, issuer)
        entries: list[Entry] = []
        for case in cases(scratch, issuer):
            print(f"bench: {case.name}", flush=True)
            entries += measure(case, [ours, envoy], scratch)
        print("bench: waypoint.latency", flush=True)
        return entries + latency(ours, envoy, scratch, issuer)


@dataclass(frozen=True, slots=True)
class Case:
    """options: h2load's; unique: each request has a new path."""

    name: str
    options: Sequence[str]
    service: str = "web"
    unique: bool = False
    path: str = path_of(ROUTES * 2 // 3)

    def targets(self, proxy: Proxy, scratch: Path) -> list[str]:
        """What to ask for: one path, or a file of many."""
        url = f"{proxy.urls[self.service]}{self.path}"
        if not self.unique:
            return [url]
        paths = scratch / "paths"
        paths.write_text("".join(f"{url}/{n:x}\n" for n in range(UNIQUE)))
        return ["-i", str(paths)]


def cases(scratch: Path, issuer: Issuer) -> list[Case]:
    """All but latency's."""
    common = [f"-H{name}: {value}" for name, value in HEADERS.items()]
    one = ["--h1", "-c16", "-m1", *common]
    two = ["-c4", "-m32", *common]
    message = scratch / "call"
    message.write_bytes(b"\0\0\0\0\x20" + bytes(32))
    call = ["-c4", "-m32", f"-d{message}", *(f"-H{n}: {v}" for n, v in GRPC.items())]
    token = f"-Hauthorization: Bearer {issuer.token()}"
    return [
        Case("waypoint.h1", one),
        Case("waypoint.h1.unique", one, unique=True),
        Case("waypoint.h1.policy", [*one, token], "guarded"),
        Case("waypoint.h2", two, "web2"),
        Case("waypoint.h2.unique", two, "web2", unique=True),
        Case("waypoint.h2.policy", [*two, token], "guarded2"),
        Case("waypoint.grpc", call, "web2", path=f"{CALL}/Say"),
    ]


def measure(case: Case, proxies: Sequence[Proxy], scratch: Path) -> list[Entry]:
    """One case: requests per second, and the proxies' own CPU time per request."""
    name = case.name

    def once(proxy: Proxy) -> Sample:
        before = cpu_seconds(proxy.pids)
        made = h2load(proxy, case.options, case.targets(proxy, scratch))
        return Sample(made.rate, (cpu_seconds(proxy.pids) - before) * 1e6 / made.requests)

    samples = in_turn(ROUNDS, {p.name: lambda p=p: once(p) for p in proxies})
    ours, theirs = (samples[proxy.name] for proxy in proxies)
    pairs = list(zip(ours, theirs, strict=True))
    cpu = statistics.median(sample.cpu_us for sample in ours)
    return [
        Entry(
            name,
            round(statistics.median(sample.rate for sample in ours), 1),
            "requests/s",
            "Envoy",
            round(statistics.median(a.rate / b.rate for a, b in pairs), 3),
            round(cpu, 2),
        ),
        Entry(
            f"{name}.cpu",
            round(cpu, 2),
            "CPU µs/request",
            "Envoy",
            round(statistics.median(b.cpu_us / a.cpu_us for a, b in pairs), 3),
            round(cpu, 2),
        ),
    ]


def h2load(proxy: Proxy, options: Sequence[str], targets: Sequence[str]) -> Run:
    """One run; raises RuntimeError for any request that failed."""
    argv = proxy.client([*on_core(0), "h2load", "-t1", f"-D{SECONDS}", *options, *targets])
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    rate = re.search(r"finished in [\d.]+m?s, ([\d.]+) req/s", done.stdout)
    counts = re.search(r"(\d+) succeeded, (\d+) failed, (\d+) errored", done.stdout)
    codes = re.search(r"status codes: (\d+) 2xx, (\d+) 3xx, (\d+) 4xx, (\d+) 5xx", done.stdout)
    assert rate, done.stdout
    assert counts, done.stdout
    assert codes, done.stdout
    if int(counts[3]) or any(int(code) for code in codes.groups()[1:]):
        raise RuntimeError(f"{proxy.name}: {counts[0]}; {codes[0]}")
    return Run(float(rate[1]), int(counts[1]))


def latency(ours: Proxy, envoy: Proxy, scratch: Path, issuer: Issuer) -> list[Entry]:
    """The 99th percentile at half of what Envoy takes at most."""
    case = cases(scratch, issuer)[0]
    options = case.options
    most = h2load(envoy, options, case.targets(envoy, scratch)).rate
    clients = 16
    paced = [*options, f"--rps={max(1, int(most / 2 / clients))}"]

    def percentile(proxy: Proxy) -> float:
        log = scratch / "latencies"
        log.unlink(missing_ok=True)
        h2load(proxy, [*paced, f"--log-file={log}"], case.targets(proxy, scratch))
        taken = sorted(int(line.split("\t")[2]) for line in log.read_text().splitlines())
        return taken[len(taken) * 99 // 100]

    rounds = in_turn(
        ROUNDS, {p.name: lambda p=p: Sample(percentile(p), 0.0) for p in (ours, envoy)}
    )
    pairs = list(zip(rounds[ours.name], rounds[envoy.name], strict=True))
    return [
        Entry(
            "waypoint.latency",
            statistics.median(a.rate for a, _ in pairs),
            "p99 µs",
            "Envoy",
            round(statistics.median(b.rate / a.rate for a, b in pairs), 3),
            0.0,
        )
    ]


def open_proxies(
    mesh: MeshHandle, scratch: Path, stack: ExitStack, issuer: Issuer
) -> tuple[Proxy, Proxy]:
    """Start servers and Envoy, give the proxies their core; ours first."""
    plain = {name: mesh.pod(name, "plain") for name in ("client", "envoy", "server")}
    reuse_ports(*plain.values())
    client, server = mesh.pod("client", NAME), mesh.pod("server", NAME)
    stack.enter_context(nginx(scratch, "ours", lambda c: mesh.argv(server, c)))
    stack.enter_context(nginx(scratch, "plain", outside(plain["server"]["netns"])))
    addresses = {
        name: next(ip for ip in pod["ips"] if ":" not in ip) for name, pod in plain.items()
    }
    beside = stack.enter_context(
        envoy(scratch, addresses, issuer, outside(plain["envoy"]["netns"]))
    )
    waypoint = waypoint_of(mesh)
    for pid in (*waypoint, beside):
        subprocess.run(
            ["taskset", "--all-tasks", "--cpu-list", "--pid", "1", str(pid)],
            check=True,
            stdout=subprocess.DEVNULL,
        )

    def url(name: str) -> str:
        found = mesh.run("client", "getent", "ahostsv4", name, namespace=NAME).stdout
        return f"http://{found.split()[0]}"

    def within(command: Sequence[str]) -> list[str]:
        return mesh.argv(client, command)

    address = f"http://{addresses['envoy']}"
    return (
        Proxy("waypoint", within, {name: url(name) for name in SERVICES}, waypoint),
        Proxy(
            "Envoy",
            outside(plain["client"]["netns"]),
            {name: f"{address}:{port}" for name, port in PORTS.items()},
            (beside,),
        ),
    )


def waypoint_of(mesh: MeshHandle) -> tuple[int, ...]:
    """The waypoint's processes."""
    pod = mesh.pod("gate", NAME)
    return tuple(cgroups.processes(Path(pod["cgroup"])))


@contextmanager
def nginx(scratch: Path, name: str, inside: Inside) -> Iterator[None]:
    """A server of HTTP/1.1 and HTTP/2 with small answers, gRPC's among them."""
    pages = scratch / f"{name}-pages"
    pages.mkdir()
    (pages / "message").write_bytes(bytes(5))
    config = scratch / f"{name}.conf"
    config.write_text(
        f"daemon off; master_process off; pid {scratch}/{name}.pid;\n"
        f"error_log {scratch}/{name}.log;\n"
        "events { worker_connections 4096; }\n"
        "http { access_log off; keepalive_requests 1000000000;\n"
        "  server { listen 8080 backlog=1024; listen 8081 http2 backlog=1024;\n"
        "  http2_max_concurrent_streams 1024;\n"
        f"  root {pages};\n"
        "  location /api { default_type application/json; return 200 '{\"ok\":true}'; }\n"
        f"  location {CALL} {{ error_page 404 405 =200 /message; }}\n"
        "  location = /message { default_type application/grpc;\n"
        "    add_trailer grpc-status 0; } } }\n"
    )
    with ended(inside([*on_core(0), "/usr/sbin/nginx", "-c", str(config)])):
        yield


ENVOY = """
admin: {address: {socket_address: {address: 127.0.0.1, port_value: 9901}}}
static_resources:
  listeners:
%LISTENERS%
  clusters:
%CLUSTERS%
"""
LISTENER = """
  - address: {socket_address: {address: 0.0.0.0, port_value: %PORT%}}
    filter_chains:
    - filters:
      - name: http
        typed_config:
          "@type": type.googleapis.com/%HTTP%.v3.HttpConnectionManager
          stat_prefix: http
          codec_type: AUTO
          http_filters:
%FILTERS%
          - name: router
            typed_config:
              "@type": type.googleapis.com/envoy.extensions.filters.http.router.v3.Router
          route_config:
            virtual_hosts:
            - name: all
              domains: ["*"]
              routes:
%ROUTES%
"""
CLUSTER = """
  - name: web%SERVER%
    connect_timeout: 5s
    circuit_breakers:
      thresholds:
      - {max_connections: 1000000, max_requests: 1000000, max_pending_requests: 1000000}
%OPTIONS%
    load_assignment:
      cluster_name: web%SERVER%
      endpoints:
      - lb_endpoints:
        - endpoint: {address: {socket_address: {address: %ADDRESS%, port_value: %SERVER%}}}
"""
OPTIONS_2 = """
    typed_extension_protocol_options:
      envoy.extensions.upstreams.http.v3.HttpProtocolOptions:
        "@type": type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions
        explicit_http_config: {http2_protocol_options: {}}
"""


@contextmanager
def envoy(
    scratch: Path, addresses: dict[str, str], issuer: Issuer, inside: Inside
) -> Iterator[int]:
    """Envoy with one worker, with a port for each service; its process."""
    listeners = clusters = ""
    caller = listed(envoy_caller(addresses["client"]))
    guarded = envoy_filters(addresses["client"], issuer)
    for name, port in PORTS.items():
        server = 8080 + SERVICES[name]
        prefixes = [path_of(number) for number in range(ROUTES)]
        routes = "".join(
            f'              - match: {{path_separated_prefix: "{prefix}"}}\n'
            f"                route: {{cluster: web{server}, timeout: 0s}}\n"
            for prefix in (*prefixes, CALL)
        )
        listeners += filled(
            LISTENER,
            PORT=str(port),
            HTTP="envoy.extensions.filters.network.http_connection_manager",
            FILTERS=textwrap.indent(
                guarded if name.startswith("guarded") else caller, " " * 10
            ),
            ROUTES=routes,
        )
    for server, options in ((8080, ""), (8081, OPTIONS_2)):
        clusters += filled(
            CLUSTER, SERVER=str(server), ADDRESS=addresses["server"], OPTIONS=options
        )
    config = scratch / "envoy.yaml"
    config.write_text(filled(ENVOY, LISTENERS=listeners, CLUSTERS=clusters))
    argv = [
        str(Path(sys.executable).with_name("envoy")),
        *(
            "-c",
            str(config),
            "--concurrency",
            "1",
            "--log-level",
            "warn",
            "--disable-hot-restart",
        ),
    ]
    probe = ["curl", "-so/dev/null", "-w%{http_code}", f"127.0.0.1{path_of(1)}"]
    with ended(inside(argv)) as process:

        def answers() -> bool:
            done = subprocess.run(inside(probe), capture_output=True, text=True, check=False)
            return done.stdout in {"200", "403"}

        eventually(answers, "Envoy", 60)
        yield process


def filled(template: str, **values: str) -> str:
    """A template with values in place of %NAME%."""
    for name, value in values.items():
        template = template.replace(f"%{name}%", value.strip("\n"))
    return template
