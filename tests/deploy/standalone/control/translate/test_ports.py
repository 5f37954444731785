from __future__ import annotations

import pytest

from deploy.standalone.control.objects import ServicePort
from deploy.standalone.control.translate.ports import app_protocol
from proto import workload_pb2 as pb


@pytest.mark.parametrize(
    ("name", "said", "protocol"),
    [
        ("", "", pb.UNKNOWN),
        ("http", "", pb.HTTP11),
        ("http-api", "", pb.HTTP11),
        ("httpx", "", pb.UNKNOWN),
        ("http2", "", pb.HTTP2),
        ("http2-api", "", pb.HTTP2),
        ("grpc", "", pb.GRPC),
        ("grpc-web", "", pb.HTTP11),
        ("grpc-web-x", "", pb.HTTP11),
        ("grpc-api", "", pb.GRPC),
        ("https", "", pb.TLS),
        ("tls-x", "", pb.TLS),
        ("tcp", "", pb.TCP),
        ("mysql", "", pb.TCP),
        ("redis-cache", "", pb.TCP),
        ("mysqlx", "", pb.UNKNOWN),
        ("x", "mongo", pb.TCP),
        ("tcp", "http", pb.HTTP11),
        ("x", "HTTP", pb.HTTP11),
        ("x", "kubernetes.io/h2c", pb.HTTP2),
        ("x", "kubernetes.io/ws", pb.HTTP11),
        ("x", "https", pb.TLS),
        ("http", "example.com/mine", pb.HTTP11),
    ],
)
def test_app_protocol(name: str, said: str, protocol: int) -> None:
    assert app_protocol(ServicePort(name, 80, 80, app_protocol=said)) == protocol


@pytest.mark.parametrize("port", [25, 53, 3306, 27017])
def test_a_number_says_that_servers_speak_first(port: int) -> None:
    assert app_protocol(ServicePort("", port, 80)) == pb.TCP
    assert app_protocol(ServicePort("http", port, 80)) == pb.HTTP11
