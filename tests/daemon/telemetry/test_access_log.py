"""Lines, compared with ztunnel's format field by field.

The example is of Istio's documentation of ztunnel's access log, with this scene's
names; dst.hbone_addr is missing, because nothing was tunnelled.
"""

from __future__ import annotations

from dataclasses import Field, fields, replace
from typing import Any

import pytest

from bpf.addresses import mapped
from bpf.layout import Event, EventKind, EventReason, Verdict
from daemon.telemetry.access_log import Lines
from tests.daemon.meshes import ip
from tests.daemon.telemetry.scene import CLIENT, SPIFFE, WEB1, event, names_of, scene

SRC = (
    'src.addr=10.0.0.1:40000 src.workload="client" src.namespace="app" '
    f'src.identity="{SPIFFE}/client" src.cluster="Kubernetes"'
)
DST = (
    'dst.addr=10.0.0.2:8080 dst.service="web.app.svc.cluster.local" dst.workload="web-1" '
    f'dst.namespace="app" dst.identity="{SPIFFE}/web" dst.cluster="Kubernetes"'
)
OUT = 'direction="outbound" bytes_sent=84 bytes_recv=358 duration="1500ms"'
IN = 'direction="inbound" bytes_sent=358 bytes_recv=84 duration="1500ms"'


def lines(*local: int, policy: str = "") -> Lines:
    def resolve(chunk: int, rule: int) -> str:
        return f"{policy}-{chunk}-{rule}" if policy else ""

    return Lines(names_of(scene()), set(local), resolve)


def test_both_ends_of_a_connection_on_one_node() -> None:
    assert lines(CLIENT, WEB1).of(event()) == [
        ("info", f"connection complete\t{SRC} {DST} {OUT}"),
        ("info", f"connection complete\t{SRC} {DST} {IN}"),
    ]


@pytest.mark.parametrize("kind", list(EventKind))
@pytest.mark.parametrize("change", list(fields(Event)), ids=lambda field: field.name)
def test_a_record_has_the_lines_of_its_event(kind: EventKind, change: Field[Any]) -> None:
    """Whatever came before it: others that differ from it in one field."""
    reading, one = lines(CLIENT, WEB1), event(kind=kind)
    value = {int: 3, bytes: mapped(ip("10.9.9.9"))}[type(change.default)]
    other = replace(one, **({change.name: value} if change.name != "kind" else {}))
    for made in (one, other, one):
        assert reading.read(made.pack()) == (made.ended, reading.of(made))


def test_a_client_of_a_server_elsewhere_cant_vouch_for_it() -> None:
    unproven = DST.replace(f' dst.identity="{SPIFFE}/web"', "")
    assert lines(CLIENT).of(event()) == [
        ("info", f"connection complete\t{SRC} {unproven} {OUT}")
    ]


def test_a_visitor_has_nothing_but_an_address() -> None:
    [(level, line)] = lines(WEB1).of(
        event(source=0, identity=0, target=1, flags=0, source_address=mapped(ip("fd00::9")))
    )
    without_service = DST.replace(' dst.service="web.app.svc.cluster.local"', "")
    assert level == "info"
    assert line == f"connection complete\tsrc.addr=[fd00::9]:40000 {without_service} {IN}"


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (EventReason.RESET, "Connection refused (os error 111)"),
        (EventReason.TIMED_OUT, "Connection timed out (os error 110)"),
        (EventReason.ABORTED, "the client gave up"),
    ],
)
def test_a_failed_connect_is_an_error_of_its_client(reason: EventReason, error: str) -> None:
    made = event(kind=EventKind.FAILED, reason=reason, sent=0, received=0, established=0)
    [(level, line)] = lines(CLIENT, WEB1).of(made)
    out = OUT.replace("sent=84", "sent=0").replace("recv=358", "recv=0")
    assert level == "error"
    assert line == f'connection complete\t{SRC} {DST} {out} error="connection failed: {error}"'


@pytest.mark.parametrize(
    ("reason", "error"),
    [
        (EventReason.NO_ENDPOINT, "no healthy upstream: 10.96.0.1:80"),
        (
            EventReason.NO_PORT,
            "requested service web.app.svc.cluster.local:80 found, but cannot resolve port",
        ),
        (
            EventReason.NO_WAYPOINT,
            "unknown waypoint: web.app.svc.cluster.local has one, which has no endpoint",
        ),
    ],
)
def test_what_led_nowhere_is_ztunnels_short_warning(reason: EventReason, error: str) -> None:
    made = event(kind=EventKind.REFUSED, reason=reason, destination=0)
    assert lines(CLIENT).of(made) == [
        (
            "warn",
            (
                'connection failed\tsrc.addr=10.0.0.1:0 src.workload="client" '
                'src.namespace="app" src.cluster="Kubernetes" dst.addr=10.96.0.1:80 '
                f'dst.service="web.app.svc.cluster.local" direction="outbound" error="{error}"'
            ),
        )
    ]


def test_a_denial_names_its_policy() -> None:
    made = event(
        kind=EventKind.DENIED, reason=Verdict.DENIED, policy=3, rule=4, sent=0, received=0
    )
    [(level, line)] = lines(CLIENT, WEB1, policy="app/deny").of(made)
    assert level == "error"
    assert line.endswith(
        'direction="inbound" bytes_sent=0 bytes_recv=0 duration="1500ms" '
        'error="connection closed due to policy rejection: explicitly denied by: app/deny-3-4"'
    )
    assert f'src.identity="{SPIFFE}/client"' in line


def test_a_denial_by_no_policy_says_that_none_allowed() -> None:
    [(_, line)] = lines().of(event(kind=EventKind.DENIED, reason=Verdict.NOT_ALLOWED))
    assert "policy rejection: allow policies exist, but none allowed" in line


@pytest.mark.parametrize(
    ("verdict", "said"),
    [
        (Verdict.UNGUARDED, "aren't known yet"),
        (Verdict.UNKNOWN_IDENTITY, "aren't known yet"),
        (Verdict.UNPROVEN, "no connection that this node redirected"),
    ],
)
def test_a_denial_without_a_policy_says_why(verdict: Verdict, said: str) -> None:
    [(level, line)] = lines().of(event(kind=EventKind.DENIED, reason=verdict))
    assert level == "error"
    assert said in line


def test_a_dry_run_is_no_error() -> None:
    [(level, line)] = lines(WEB1, policy="app/try").of(
        event(kind=EventKind.DRY_RUN, reason=Verdict.DRY_DENIED)
    )
    assert level == "info"
    assert line.startswith("connection would be denied\t")
    assert "app/try" in line


def test_quotes_cannot_pose_as_fields() -> None:
    names = names_of(scene())
    lines = Lines(names, {WEB1}, lambda _chunk, _rule: 'a" src.workload="b')
    [(_, line)] = lines.of(event(kind=EventKind.DENIED, reason=Verdict.DENIED))
    assert 'a\\" src.workload=\\"b' in line
