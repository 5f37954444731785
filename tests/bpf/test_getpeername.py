"""getpeername4 and 6: clients see what they called, servers who called."""

from __future__ import annotations

import socket

import pytest

from tests.bpf.engine import Engine
from tests.support.netns import Netns

VIPS: dict[int, str] = {socket.AF_INET: "10.96.1.1", socket.AF_INET6: "fd00:96::1"}


@pytest.fixture(params=[socket.AF_INET, socket.AF_INET6], ids=["ipv4", "ipv6"])
def family(request: pytest.FixtureRequest) -> int:
    return int(request.param)


def test_a_client_sees_the_virtual_address(
    mesh: Engine, client: Netns, server: Netns, family: int
) -> None:
    mesh.enroll(client)
    mesh.vip(VIPS[family])
    mesh.port(80, [(server.address(family), 8080)])
    with (
        server.listen(server.address(family), 8080) as listener,
        client.open_socket(family) as s,
    ):
        s.connect((VIPS[family], 80))
        assert s.getpeername()[:2] == (VIPS[family], 80)
        accepted, told = listener.accept()
        with accepted:
            assert told[:2] == s.getsockname()[:2]
            assert accepted.getpeername()[:2] == s.getsockname()[:2]


def test_a_mapped_client_sees_a_mapped_address(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    mesh.enroll(client)
    mesh.vip(VIPS[socket.AF_INET])
    mesh.port(80, [(server.v4, 8080)])
    with server.listen(server.v4, 8080), client.open_socket(socket.AF_INET6) as s:
        s.connect((f"::ffff:{VIPS[socket.AF_INET]}", 80))
        assert s.getpeername()[:2] == (f"::ffff:{VIPS[socket.AF_INET]}", 80)


def test_it_is_so_while_a_connect_is_under_way(
    mesh: Engine, client: Netns, server: Netns
) -> None:
    """curl asks for the peer of a non-blocking connect; the kernel knows none yet."""
    mesh.enroll(client)
    mesh.vip(VIPS[socket.AF_INET])
    mesh.port(80, [(server.v4, 8080)])
    with server.listen(server.v4, 8080):
        url = f"http://{VIPS[socket.AF_INET]}/"
        code = (
            "import subprocess,sys; p=subprocess.run(['curl','-s','-o','/dev/null','-m','1',"
            "'-w','%{remote_ip}:%{remote_port}',sys.argv[1]],capture_output=True,text=True);"
            "print(p.stdout)"
        )
        assert client.python(code, url).strip() == f"{VIPS[socket.AF_INET]}:80"


def test_others_see_the_plain_truth(
    mesh: Engine, client: Netns, server: Netns, family: int
) -> None:
    mesh.enroll(client)
    address = server.address(family)
    with server.listen(address, 8080), client.open_socket(family) as s:
        s.connect((address, 8080))
        assert s.getpeername()[:2] == (address, 8080)
