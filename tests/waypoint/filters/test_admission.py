from __future__ import annotations

import pytest
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (  # noqa: E501
    HttpConnectionManager,
)

from tests.waypoint.mesh import Mesh, hostname, running, service
from tests.waypoint.wire import client, upstream
from waypoint.errors import RouteError
from waypoint.filters.admission import (
    NO_ADMISSION,
    XFCC,
    Admission,
    ClientCert,
    admit,
    told_certificates,
)
from waypoint.filters.decode import TYPE_URL, decode_chain
from waypoint.filters.verdicts import Refusal
from waypoint.messages import Request
from waypoint.routing.normalize import EscapedSlashes, Paths
from ztunnel_compat.model import Extension

ME, YOU = "spiffe://d/ns/a/sa/gate", "spiffe://d/ns/a/sa/you"
SAID = (XFCC, b"By=x;URI=forged")
SET = f"By={ME};URI={YOU}".encode()


@pytest.mark.parametrize(
    ("mode", "identity", "said", "told"),
    [
        (ClientCert.SANITIZE, YOU, True, []),
        (ClientCert.SANITIZE, YOU, False, []),
        (ClientCert.FORWARD_ONLY, YOU, True, [SAID[1]]),
        (ClientCert.FORWARD_ONLY, "", True, []),
        (ClientCert.ALWAYS_FORWARD_ONLY, "", True, [SAID[1]]),
        (ClientCert.SANITIZE_SET, YOU, True, [SET]),
        (ClientCert.SANITIZE_SET, YOU, False, [SET]),
        (ClientCert.SANITIZE_SET, "", True, []),
        (ClientCert.APPEND_FORWARD, YOU, True, [SAID[1] + b"," + SET]),
        (ClientCert.APPEND_FORWARD, YOU, False, [SET]),
        (ClientCert.APPEND_FORWARD, "", True, []),
    ],
)
def test_what_is_told_of_certificates(
    mode: ClientCert, identity: str, said: bool, told: list[bytes]
) -> None:
    fields = ((b"a", b"b"), *([SAID] if said else []))
    found = told_certificates(fields, Admission(client_cert=mode, uri=True), identity, ME)
    assert [value for name, value in found if name == XFCC] == told
    assert found[0] == (b"a", b"b")


def test_a_request_that_needs_nothing_is_itself() -> None:
    request = Request(b"GET", b"http", b"web", b"/a?b", ((b"a", b"b"),))
    assert admit(request, NO_ADMISSION, YOU, ME, grpc=False) is request
    options = request._replace(method=b"OPTIONS", path=b"*")
    assert admit(options, NO_ADMISSION, YOU, ME, grpc=False) is options
    star = admit(request._replace(path=b"*"), NO_ADMISSION, YOU, ME, grpc=False)
    assert isinstance(star, Request)
    assert star.path == b"/*"


def test_a_redirect_is_no_answer_for_grpc() -> None:
    request = Request(b"GET", b"http", b"web", b"/a%2fb?c", ())
    admission = Admission(Paths(escaped_slashes=EscapedSlashes.REDIRECT))
    found = admit(request, admission, YOU, ME, grpc=False)
    assert isinstance(found, Refusal)
    assert (found.status, found.fields) == (307, ((b"location", b"/a/b?c"),))
    found = admit(request, admission, YOU, ME, grpc=True)
    assert isinstance(found, Refusal)
    assert found.status == 400


def manager(**fields: object) -> bytes:
    message = HttpConnectionManager(**fields)
    value: bytes = message.SerializeToString()
    return value


def test_what_the_manager_says() -> None:
    assert decode_chain(manager(), {}).admission == NO_ADMISSION
    made = HttpConnectionManager(
        merge_slashes=True,
        path_with_escaped_slashes_action=HttpConnectionManager.UNESCAPE_AND_FORWARD,
        forward_client_cert_details=HttpConnectionManager.APPEND_FORWARD,
    )
    made.normalize_path.value = False
    made.set_current_client_cert_details.uri = True
    found = decode_chain(made.SerializeToString(), {}).admission
    assert found == Admission(
        Paths(normalize=False, merge_slashes=True, escaped_slashes=EscapedSlashes.FORWARD),
        ClientCert.APPEND_FORWARD,
        uri=True,
    )
    made.set_current_client_cert_details.dns = True
    with pytest.raises(RouteError, match="dns"):
        decode_chain(made.SerializeToString(), {})


async def push(mesh: Mesh, port: int, made: HttpConnectionManager | None = None) -> None:
    name = f"inbound-vip|80|filters|{hostname('web')}"
    extensions = (
        [Extension(name, TYPE_URL, made.SerializeToString())] if made is not None else []
    )
    mesh.push(service("web", *extensions))
    mesh.pod("web-1", "web", port)
    mesh.ask("web")


async def test_endpoints_get_the_path_that_was_decided_on() -> None:
    async with running() as mesh, upstream() as server:
        await push(mesh, server.port)
        async with client(mesh) as peer:
            for _ in range(3):
                head, _body = await peer.get("/a/%2e%2e/b?c", "x-forwarded-client-cert: forged")
                assert head.startswith(b"http/1.1 200")
            await peer.get("/a%00")
        assert all(head.startswith(b"GET /b?c HTTP/1.1\r\n") for head in server.heads)
        assert len(server.heads) == 3
        assert not any(b"client-cert" in head for head in server.heads)
        assert len(mesh.worker.memo.records) == 1
        line = (await mesh.lines(4))[3]
        assert " 400 - path_normalization_failed " in line


async def test_endpoints_are_told_who_asks() -> None:
    made = HttpConnectionManager(forward_client_cert_details=HttpConnectionManager.SANITIZE_SET)
    made.set_current_client_cert_details.uri = True
    async with running() as mesh, upstream() as server:
        mesh.worker.targets.identity = ME
        await push(mesh, server.port, made)
        async with client(mesh) as peer:
            for _ in range(3):
                await peer.get("/", "X-Forwarded-Client-Cert: By=x;URI=forged")
        told = b"x-forwarded-client-cert: By=%b;URI=spiffe://" % ME.encode()
        assert all(told in head and b"forged" not in head for head in server.heads)
        # Another client's requests must not be told of with this one's name.
        assert not mesh.worker.memo.records
