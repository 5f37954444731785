"""What ordinary programs see: names, addresses, protocols, bulk, both families."""

from __future__ import annotations

import hashlib
import json
import subprocess
from pathlib import Path

import pytest

from tests.e2e.manifests import documents, gateway, idle, namespace, pod, service
from tests.support.mesh import MeshHandle, eventually

GIB = 1 << 30

MANIFESTS = {
    "mesh.yaml": documents(
        namespace("apps", dataplane_mode="ambient"),
        namespace("plain"),
        gateway("waypoint", "apps"),
        pod("echo", "echo.py", "8080", namespace="apps", port=8080),
        pod("greeter", "greeter.py", "2525", namespace="apps", port=2525),
        service("direct", 80, 8080, namespace="apps", selector="app: echo"),
        service(
            "proxied", 80, 8080, namespace="apps", selector="app: echo", use_waypoint="waypoint"
        ),
        service(
            "tcp",
            80,
            8080,
            namespace="apps",
            port_name="tcp",
            selector="app: echo",
            use_waypoint="waypoint",
        ),
        service(
            "greeter", 25, 2525, namespace="apps", port_name="tcp-smtp", use_waypoint="waypoint"
        ),
        idle("client", "apps"),
        idle("outsider", "plain"),
    )
}

PEERNAME = """
import socket, sys
family = socket.AF_INET6 if sys.argv[2] == "6" else socket.AF_INET
info = socket.getaddrinfo(sys.argv[1], 80, family, socket.SOCK_STREAM)[0]
with socket.create_connection(info[4][:2], 5) as s:
    print(info[4][0], s.getpeername()[0])
"""


@pytest.mark.parametrize("host", ["direct", "proxied", "tcp"])
@pytest.mark.parametrize("family", ["4", "6"])
def test_curl_by_name_over_both_families(mesh: MeshHandle, host: str, family: str) -> None:
    done = mesh.run(
        "client", "curl", "-sS", f"-{family}", f"http://{host}/hello", namespace="apps"
    )
    answer = json.loads(done.stdout)
    assert answer["name"] == "echo"
    if host == "direct":
        # A waypoint is free to reach a dual-stack endpoint over either.
        assert (":" in answer["peer"].removeprefix("::ffff:")) == (family == "6")


@pytest.mark.parametrize(
    "name", ["direct.apps", "direct.apps.svc", "direct.apps.svc.cluster.local"]
)
def test_every_form_of_a_name(mesh: MeshHandle, name: str) -> None:
    for client, space in (("client", "apps"), ("outsider", "plain")):
        done = mesh.run(client, "curl", "-sS", f"http://{name}/", namespace=space)
        assert json.loads(done.stdout)["name"] == "echo"


@pytest.mark.parametrize("family", ["4", "6"])
def test_the_client_sees_the_address_it_asked_for(mesh: MeshHandle, family: str) -> None:
    for host in ("direct", "proxied"):
        done = mesh.run(
            "client", "/usr/bin/python3", "-c", PEERNAME, host, family, namespace="apps"
        )
        asked, seen = done.stdout.split()
        assert asked == seen


def test_the_server_sees_the_client_without_a_waypoint(mesh: MeshHandle) -> None:
    done = mesh.run("client", "curl", "-sS", "-4", "http://direct/", namespace="apps")
    assert (
        json.loads(done.stdout)["peer"].removeprefix("::ffff:")
        in mesh.pod("client", "apps")["ips"]
    )


def test_the_waypoints_log_names_the_caller(mesh: MeshHandle) -> None:
    mesh.run("client", "curl", "-sS", "http://proxied/who-am-i", namespace="apps")

    def line() -> str:
        log = mesh.tandem("logs", "-n", "apps", "waypoint")
        return next((li for li in log.splitlines() if "/who-am-i" in li), "")

    assert "spiffe://cluster.local/ns/apps/sa/default" in eventually(
        line, "the access log line"
    )


def test_a_server_that_speaks_first(mesh: MeshHandle) -> None:
    code = (
        "import socket; s = socket.create_connection(('greeter', 25), 5);"
        "print(s.recv(100).decode().strip()); s.sendall(b'hi'); print(s.recv(10).decode())"
    )
    done = mesh.run("client", "/usr/bin/python3", "-c", code, namespace="apps")
    assert done.stdout.split("\n")[:2] == ["220 greeter ready", "hi"]


def rss_of_waypoint(mesh: MeshHandle) -> int:
    pid = mesh.pod("waypoint", "apps")["pid"]
    status = Path(f"/proc/{pid}/status").read_text()
    return (
        int(next(li for li in status.splitlines() if li.startswith("VmHWM")).split()[1]) << 10
    )


@pytest.mark.parametrize("host", ["proxied", "tcp"])
def test_a_gibibyte_each_way_in_bounded_memory(mesh: MeshHandle, host: str) -> None:
    mesh.run("client", "curl", "-sS", f"http://{host}/", namespace="apps")
    before = rss_of_waypoint(mesh)
    down = f"curl -sS http://{host}/bytes/{GIB} | sha256sum"
    done = mesh.run("client", "sh", "-c", down, namespace="apps")
    digest = hashlib.sha256()
    block = bytes(range(256)) * 4096
    for _ in range(GIB // len(block)):
        digest.update(block)
    assert done.stdout.split()[0] == digest.hexdigest()
    up = f"head -c {GIB} /dev/zero | curl -sS -T - -X POST http://{host}/sink"
    answer = json.loads(mesh.run("client", "sh", "-c", up, namespace="apps").stdout)
    assert answer["bytes"] == GIB
    assert rss_of_waypoint(mesh) - before < 64 << 20


def test_a_malformed_request_gets_400_and_harms_nobody(mesh: MeshHandle) -> None:
    code = (
        "import socket; s = socket.create_connection(('proxied', 80), 5);"
        "s.sendall(b'GET / HTTP/1.1\\r\\nhost: x\\r\\ncontent-length: 1\\r\\n'"
        "b'transfer-encoding: chunked\\r\\n\\r\\n');"
        "f = s.makefile('rb'); print(f.readline().split()[1].decode());"
        "f.read(); print('closed')"
    )
    done = mesh.run("client", "/usr/bin/python3", "-c", code, namespace="apps")
    assert done.stdout.split() == ["400", "closed"]
    mesh.run("client", "curl", "-sSf", "http://proxied/", namespace="apps")


def test_an_outsider_is_untouched(mesh: MeshHandle) -> None:
    before = mesh.dump("node")["counters"]
    for host in ("direct.apps", "proxied.apps"):
        answer = json.loads(
            mesh.run(
                "outsider", "curl", "-sS", "-4", f"http://{host}/", namespace="plain"
            ).stdout
        )
        assert answer["peer"].removeprefix("::ffff:") in mesh.pod("outsider", "plain")["ips"]
    after = mesh.dump("node")["counters"]
    assert {k: v for k, v in before.items() if "connect" in k.lower()} == {
        k: v for k, v in after.items() if "connect" in k.lower()
    }


def test_an_outsider_does_not_reach_the_identity_port(mesh: MeshHandle) -> None:
    address = next(ip for ip in mesh.pod("waypoint", "apps")["ips"] if ":" not in ip)
    url = f"http://{address}:15088/"
    for client, space in (("outsider", "plain"), ("client", "apps")):
        done = mesh.run(client, "curl", "-sS", "-m", "5", url, namespace=space, check=False)
        assert done.returncode == 7, done.stderr


def test_an_unmodified_nginx_serves_in_the_mesh(mesh: MeshHandle, tmp_path: Path) -> None:
    config = tmp_path / "nginx.conf"
    config.write_text(
        f"daemon off; pid {tmp_path}/pid; error_log stderr; user root;\n"
        "events {}\nhttp { access_log off; server { listen 8081; listen [::]:8081;\n"
        '  location / { return 200 "from nginx via $remote_addr"; } } }\n'
    )
    command = f'["/usr/sbin/nginx", "-c", "{config}"]'
    mesh.write(
        "nginx.yaml",
        documents(
            "apiVersion: v1\nkind: Pod\nmetadata:\n  name: nginx\n  namespace: apps\n"
            "  labels:\n    app: nginx\n"
            f"spec:\n  containers:\n  - name: nginx\n    command: {command}\n"
            "    readinessProbe:\n      httpGet:\n        path: /\n        port: 8081\n",
            service("nginx", 80, 8081, namespace="apps", use_waypoint="waypoint"),
        ),
    )
    mesh.wait_ready()

    def served() -> bool:
        done = mesh.run("client", "curl", "-sS", "http://nginx/", namespace="apps", check=False)
        return done.stdout.startswith("from nginx")

    eventually(served, "nginx through the waypoint")


def test_from_the_host(mesh: MeshHandle) -> None:
    address = next(r for r in mesh.dump("control")["services"].items() if "direct.apps" in r[0])
    assert address
    vip = mesh.run(
        "outsider", "getent", "ahostsv4", "direct.apps", namespace="plain"
    ).stdout.split()[0]
    done = subprocess.run(
        ["curl", "-sS", "-m", "5", f"http://{vip}/"], capture_output=True, text=True, check=True
    )
    assert json.loads(done.stdout)["name"] == "echo"
