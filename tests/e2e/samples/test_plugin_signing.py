from __future__ import annotations

import json

from tests.support.mesh import MeshHandle

SAMPLE = "plugin-signing"


def told(mesh: MeshHandle, path: str, *options: str) -> dict[str, str]:
    """What the ledger answers."""
    done = mesh.run(
        "client", "curl", "-s", "-m", "10", *options, f"http://ledger{path}", namespace=SAMPLE
    )
    answer: dict[str, str] = json.loads(done.stdout)
    return answer


def test_sample(mesh: MeshHandle) -> None:
    assert told(mesh, "/entries?page=2") == {
        "method": "GET", "path": "/entries?page=2", "body": "",
    }  # fmt: skip
    assert told(mesh, "/entries", "-d", "amount=1")["body"] == "amount=1"
    # A signature of the caller's own counts for nothing.
    forged = ("-H", "signature: mesh=:AAAA:", "-H", "content-digest: sha-256=:AAAA:")
    assert told(mesh, "/entries", "-d", "amount=2", *forged)["body"] == "amount=2"
    large = "x" * 70000
    done = mesh.run(
        "client", "curl", "-s", "-m", "10", "-o", "/dev/null", "-w", "%{http_code}",
        "-d", large, "http://ledger/entries", namespace=SAMPLE,
    )  # fmt: skip
    assert done.stdout == "413"
