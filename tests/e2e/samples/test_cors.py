from __future__ import annotations

from tests.support.mesh import MeshHandle

SAMPLE = "cors"
PREFLIGHT = ("-X", "OPTIONS", "-H", "Access-Control-Request-Method: PUT")


def asked(mesh: MeshHandle, origin: str, *options: str) -> str:
    """A response's head, as a page of an origin gets it."""
    command = ("curl", "-sSi", "-H", f"Origin: {origin}", *options, "http://echo/")
    return mesh.run("client", *command, namespace=SAMPLE).stdout.lower()


def test_sample(mesh: MeshHandle) -> None:
    for origin in ("https://shop.example", "https://a.partner.example"):
        said = asked(mesh, origin, *PREFLIGHT)
        assert said.startswith("http/1.1 200")
        assert f"access-control-allow-origin: {origin}\n" in said.replace("\r", "")
        assert "access-control-allow-methods: get,put" in said
        assert "access-control-allow-headers: x-cart" in said
        assert "access-control-max-age: 600" in said
        said = asked(mesh, origin)
        assert '{"version": "v1"' in said
        assert f"access-control-allow-origin: {origin}\n" in said.replace("\r", "")
        assert "access-control-expose-headers: x-version" in said
        assert "access-control-allow-credentials: true" in said
    said = asked(mesh, "https://else.example")
    assert '{"version": "v1"' in said
    assert "access-control" not in said
