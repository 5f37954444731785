from __future__ import annotations

import pytest

from deploy.standalone.control.auth.refusals import LINES, SECONDS, Refusals
from deploy.standalone.control.errors import (
    ForbiddenError,
    NodeIdError,
    UnauthenticatedError,
)


def test_all_are_counted_and_some_are_logged(caplog: pytest.LogCaptureFixture) -> None:
    now = [100.0]
    refusals = Refusals(lambda: now[0])
    for _ in range(LINES + 30):
        refusals.note("ipv4:10.0.0.1:1", UnauthenticatedError("token: bad"))
    assert len(caplog.messages) == LINES
    assert caplog.messages[0] == "a client at ipv4:10.0.0.1:1 was refused: token: bad"
    now[0] += SECONDS
    refusals.note("ipv4:10.0.0.2:1", ForbiddenError("no"))
    refusals.note("ipv4:10.0.0.2:1", NodeIdError("what?"))
    assert caplog.messages[LINES:] == [
        "30 more clients were refused before",
        "a client at ipv4:10.0.0.2:1 was refused: no",
        "a client at ipv4:10.0.0.2:1 was refused: what?",
    ]
    assert refusals.counts == {"Unauthenticated": LINES + 30, "Forbidden": 1, "NodeId": 1}
