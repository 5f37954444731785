from __future__ import annotations

import pytest

from deploy.standalone.control.objects import ServicePort
from deploy.standalone.control.translate.ports import app_protocol
from proto import workload_pb2 as pb


@pytest.mark.parametrize(
    ("name", "said", "protocol"),
    [
        ("", "", pb.TCP),
        ("http", "", pb.HTTP11),
        ("http-api", "", pb.HTTP11),
        ("httpx", "", pb.TCP),
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
