"""Tunnelled connections in metrics and in the log."""

from __future__ import annotations

from dataclasses import replace

from bpf.layout import EventClass, Traffic
from daemon.telemetry import families
from daemon.telemetry.labels import NAMES
from daemon.telemetry.ledger import Ledger
from daemon.telemetry.tunnels import Ends, Line, Tunnels
from tests.daemon.meshes import ip, key_of, uid_of
from tests.daemon.telemetry.scene import LABELS, scene
from ztunnel_compat.identity import Identity

STATE = scene()
CLIENT = Identity("cluster.local", "app", "client")
WEB = Identity("cluster.local", "app", "web")
ENDS = Ends(
    True,
    STATE.workload(uid_of("client")),
    CLIENT,
    STATE.workload(uid_of("web-1")),
    WEB,
    STATE.service(key_of("web")),
)


class Lines:
    def __init__(self) -> None:
        self.lines: list[tuple[EventClass, str, str]] = []

    def add(self, kind: EventClass, level: str, line: str) -> None:
        self.lines.append((kind, level, line))


class Mover:
    def __init__(self) -> None:
        self.moved = (0, 0)


def made() -> tuple[Tunnels, Ledger, Lines]:
    ledger, lines = Ledger(lambda _: (None, None)), Lines()
    return Tunnels(ledger, lines, clock=lambda: 5.0), ledger, lines


def test_labels_are_istio_s() -> None:
    labels = dict(zip(NAMES, ENDS.labels(), strict=True))
    assert labels == LABELS | {
        "reporter": "source",
        "connection_security_policy": "mutual_tls",
    }


def test_identity_of_a_certificate_goes_before_a_workload_s() -> None:
    other = Identity("cluster.local", "else", "where")
    known = dict(zip(NAMES, replace(ENDS, source_identity=other).labels(), strict=True))
    assert known["source_principal"] == str(other)
    assert known["source_workload_namespace"] == "app"
    ends = replace(ENDS, outbound=False, source=None, source_identity=other, service=None)
    unknown = dict(zip(NAMES, ends.labels(), strict=True))
    assert unknown["reporter"] == "destination"
    assert unknown["source_principal"] == str(other)
    assert unknown["source_workload_namespace"] == "else"
    assert unknown["source_workload"] == unknown["destination_service"] == "unknown"


def test_bytes_count_while_a_connection_is_open_and_once() -> None:
    tunnels, ledger, _ = made()
    mover = Mover()
    live = tunnels.opened(ENDS.labels(), mover, 0.25)
    (account,) = ledger.accounts.values()
    mover.moved = (10, 20)
    tunnels.collect()
    tunnels.collect()
    assert (account.opened, account.closed, account.show()) == (1, 0, (10, 20))
    assert account.latency == 250_000_000
    mover.moved = (11, 25)
    tunnels.closed(live)
    tunnels.collect()
    assert (account.closed, account.show()) == (1, (11, 25))
    assert not tunnels.open


def test_failures_have_their_flag() -> None:
    tunnels, ledger, _ = made()
    for flag in ("TLS_FAILURE", "DENY", "TLS_FAILURE"):
        tunnels.failed(ENDS.labels(), flag)
    ledger.account(replace(ENDS, outbound=False).labels()).add(Traffic(opened=1), 5.0)
    rows = {
        (sample.name, sample.labels["reporter"], sample.labels["response_flags"]): sample.value
        for family in families.traffic(ledger.accounts)
        for sample in family.samples
    }
    failed = "istio_tcp_connections_failed_total"
    assert rows[failed, "source", "TLS_FAILURE"] == 2
    assert rows[failed, "source", "DENY"] == 1
    assert rows["istio_tcp_connections_opened_total", "destination", "-"] == 1
    assert ("istio_tcp_connections_opened_total", "source", "-") not in rows


def line(**changes: object) -> Line:
    made = Line(
        ENDS,
        source=(ip("10.0.0.1"), 40000),
        destination=(ip("10.0.0.2"), 15008),
        target="10.0.0.2:8080",
        moved=(84, 358),
        milliseconds=12,
    )
    return replace(made, **changes)  # type: ignore[arg-type]


def test_line_is_ztunnel_s() -> None:
    assert line().text() == (
        'connection complete\tsrc.addr=10.0.0.1:40000 src.workload="client" '
        'src.namespace="app" src.identity="spiffe://cluster.local/ns/app/sa/client" '
        'src.cluster="Kubernetes" dst.addr=10.0.0.2:15008 dst.hbone_addr=10.0.0.2:8080 '
        'dst.service="web.app.svc.cluster.local" dst.workload="web-1" dst.namespace="app" '
        'dst.identity="spiffe://cluster.local/ns/app/sa/web" dst.cluster="Kubernetes" '
        'direction="outbound" bytes_sent=84 bytes_recv=358 duration="12ms"'
    )


def test_line_of_the_destination_s_end() -> None:
    text = line(ends=replace(ENDS, outbound=False), source=(ip("fd00::1"), 1)).text()
    assert "src.addr=[fd00::1]:1 " in text
    assert 'direction="inbound" bytes_sent=358 bytes_recv=84' in text


def test_text_of_others_can_t_pose_as_fields() -> None:
    text = line(error='x" dst.addr=1\n\tinfo').text()
    assert text.endswith(' error="x\\" dst.addr=1\\n\\tinfo"')


def test_lines_have_a_class_and_a_level() -> None:
    tunnels, _, lines = made()
    tunnels.tell(line())
    tunnels.tell(line(error="it broke"))
    tunnels.tell(line(flag="CONNECT", error="refused"))
    tunnels.tell(line(flag="DENY", error="denied"))
    assert [(kind, level) for kind, level, _ in lines.lines] == [
        (EventClass.CLOSED, "info"),
        (EventClass.CLOSED, "error"),
        (EventClass.FAILED, "error"),
        (EventClass.DENIED, "error"),
    ]
