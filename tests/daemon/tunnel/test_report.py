"""What is told of a connection, and that it is told once."""

from __future__ import annotations

from daemon.telemetry.ledger import Ledger
from daemon.telemetry.tunnels import Ends, Tunnels
from daemon.tunnel.errors import ResponseFlag
from daemon.tunnel.report import Report
from tests.daemon.tunnel.pki import who
from tests.daemon.tunnel.rig import Lines

ENDS = Ends(True, None, who("client"), None, who("server"))


class Mover:
    moved = (3, 4)


def made() -> tuple[Report, Ledger, Lines]:
    ledger, lines = Ledger(lambda _: (None, None)), Lines()
    now = iter(range(100, 200))
    report = Report(
        Tunnels(ledger, lines),
        ENDS,
        ENDS.labels(),
        source=(bytes(4), 1),
        destination=(bytes(4), 2),
        target="0.0.0.0:3",
        clock=lambda: float(next(now)),
    )
    return report, ledger, lines


def test_connection_that_ends_in_order() -> None:
    report, ledger, lines = made()
    report.opened(Mover())
    report.ended()
    report.ended("again")
    (account,) = ledger.accounts.values()
    assert (account.opened, account.closed, account.flags) == (1, 1, {})
    assert (account.sent, account.received, account.latency) == (3, 4, 10**9)
    ((_, level, text),) = lines.lines
    assert level == "info"
    assert 'bytes_sent=3 bytes_recv=4 duration="2000ms"' in text


def test_connection_that_breaks_was_there() -> None:
    report, ledger, lines = made()
    report.opened(Mover())
    report.ended("it broke", ResponseFlag.CONNECT)
    (account,) = ledger.accounts.values()
    assert (account.opened, account.closed, account.flags) == (1, 1, {})
    assert 'error="it broke"' in lines.lines[0][2]


def test_connection_that_never_was() -> None:
    report, ledger, lines = made()
    report.ended("denied", ResponseFlag.DENY)
    (account,) = ledger.accounts.values()
    assert (account.opened, account.closed, account.flags) == (0, 0, {"DENY": 1})
    assert 'bytes_sent=0 bytes_recv=0 duration="1000ms" error="denied"' in lines.lines[0][2]
