from __future__ import annotations

import pytest

from deploy.standalone.control.ads.gate import Gate
from deploy.standalone.control.errors import UnknownError


async def test_complete_when_every_node_has_reported() -> None:
    gate = Gate(["a", "b"])
    gate.synced("a")
    assert not gate.complete.is_set()
    gate.synced("b")
    await gate.wait_complete()
    assert not gate.opened.is_set(), "what was reported must first be in the view"


async def test_patience_runs_out(caplog: pytest.LogCaptureFixture) -> None:
    gate = Gate(["a", "b"])
    gate.synced("b")
    await gate.wait_complete(patience=0.01)
    assert "no report from a within 0.01 s" in caplog.text


def test_an_unknown_node_is_refused() -> None:
    with pytest.raises(UnknownError, match="there is no node 'c': a"):
        Gate(["a"]).synced("c")
