from __future__ import annotations

import pytest

from tests.support.mesh import MeshHandle

SAMPLE = "external-authorization"
ALLOW = ("-H", "x-ext-authz: allow")


@pytest.mark.parametrize(
    ("url", "options", "status"),
    [
        ("http://echo/", (), 200),
        ("http://echo/admin", (), 403),
        ("http://echo/admin", ALLOW, 200),
        ("http://web/", (), 403),
        ("http://web/", ALLOW, 200),
    ],
)
def test_sample(mesh: MeshHandle, url: str, options: tuple[str, ...], status: int) -> None:
    done = mesh.run("client", "curl", "-si", *options, url, namespace=SAMPLE)
    assert done.stdout.startswith(f"HTTP/1.1 {status} "), done.stdout
    assert ("denied by ext_authz" in done.stdout) is (status == 403)
