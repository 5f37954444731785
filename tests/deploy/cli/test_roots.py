"""`tandem rotate-root`."""

from __future__ import annotations

import pytest

from deploy.cli.__main__ import main
from tests.support.fake_mesh import FakeMesh

STATUS = {
    "trust_domain": "cluster.local",
    "step": "published",
    "next_step_after": "2026-03-02T10:00:00Z",
    "roots": [
        {"fingerprint": "AA:BB", "signing": True, "ends": "2036-03-01T10:00:00Z"},
        {"fingerprint": "CC:DD", "signing": False, "ends": "2036-03-02T10:00:00Z"},
    ],
}


def test_it_says_what_comes_next(mesh: FakeMesh, capsys: pytest.CaptureFixture[str]) -> None:
    mesh.api.answers["POST", "/v1/roots/rotate"] = (200, STATUS)
    assert main(["rotate-root", "--name", mesh.name]) == 0
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1] == ["AA:BB", "yes", "2036-03-01T10:00:00Z"]
    assert rows[2] == ["CC:DD", "next", "2036-03-02T10:00:00Z"]
    assert "2026-03-02T10:00:00Z," in rows[3]


def test_a_change_under_way_is_said(mesh: FakeMesh, capsys: pytest.CaptureFixture[str]) -> None:
    error = "the root is being changed already (step: signing): wait until it is done"
    mesh.api.answers["POST", "/v1/roots/rotate"] = (409, {"error": error})
    assert main(["rotate-root", "--name", mesh.name]) == 1
    assert error in capsys.readouterr().err
