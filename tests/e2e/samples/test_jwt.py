from __future__ import annotations

import json
from typing import Any

from tests.support.mesh import MeshHandle, eventually

SAMPLE = "jwt"


def curl(mesh: MeshHandle, *options: str) -> str:
    """What the pod client gets."""
    command = ("curl", "-sS", "-m", "10", *options)
    return mesh.run("client", *command, namespace=SAMPLE).stdout


def token(mesh: MeshHandle, query: str) -> str:
    return curl(mesh, f"http://issuer/token?{query}")


def ask(mesh: MeshHandle, *options: str) -> tuple[int, Any]:
    """Status, and what the service tells or, of a refusal, the text."""
    body, _, status = curl(mesh, "-w", "\n%{http_code}", *options, "http://echo/").rpartition(
        "\n"
    )
    return int(status), json.loads(body) if status == "200" else body


def bearer(text: str) -> tuple[str, str]:
    return "-H", f"Authorization: Bearer {text}"


def test_sample(mesh: MeshHandle) -> None:
    status, told = ask(mesh, "-H", "x-user: root")
    assert (status, told["version"]) == (200, "v1")
    assert "x-user" not in told["headers"]

    anna = bearer(token(mesh, "sub=anna"))
    # Until its keys were fetched, nobody's token is good.
    eventually(lambda: ask(mesh, *anna)[0] == 200, "the issuer's keys are there", 15)
    status, told = ask(mesh, *anna, "-H", "x-user: root")
    assert (status, told["version"]) == (200, "v1")
    assert told["headers"]["x-user"] == "anna"
    assert "authorization" not in told["headers"]

    tester = token(mesh, "sub=bob&groups=ops+testers")
    status, told = ask(mesh, *bearer(tester))
    assert (status, told["version"], told["headers"]["x-user"]) == (200, "v2", "bob")

    assert ask(mesh, *bearer(f"{tester[:-8]}AAAAAAAA")) == (401, "Jwt verification fails")
    assert ask(mesh, *bearer(token(mesh, "for=-90"))) == (401, "Jwt is expired")
    assert ask(mesh, *bearer(token(mesh, "iss=eve"))) == (401, "Jwt issuer is not configured")
    assert ask(mesh, *bearer("x"))[0] == 401
