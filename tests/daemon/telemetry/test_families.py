from __future__ import annotations

from collections.abc import Iterable

import pytest
from prometheus_client.core import Metric

from bpf.layout import Counter, Traffic
from daemon.telemetry import families
from daemon.telemetry.labels import NAMES
from daemon.telemetry.ledger import Account
from ztunnel_compat.istio_labels import Labels

SOURCE = ("source", *("x",) * (len(NAMES) - 1))
DESTINATION = ("destination", *("x",) * (len(NAMES) - 1))


def account(**sums: int) -> Account:
    made = Account()
    made.add(Traffic(**sums), 0)
    return made


def samples(metrics: Iterable[Metric]) -> dict[tuple[str, str, str], float]:
    """By name, reporter and response flags."""
    return {
        (s.name, s.labels.get("reporter", ""), s.labels.get("response_flags", "")): s.value
        for metric in metrics
        for s in metric.samples
    }


def traffic(accounts: dict[Labels, Account]) -> dict[tuple[str, str, str], float]:
    return samples(families.traffic(accounts))


def test_istios_names_and_istios_way_around() -> None:
    """Received is what went from client to server, whoever reports."""
    told = traffic({
        SOURCE: account(opened=3, closed=2, sent=10, received=70),
        DESTINATION: account(opened=3, closed=2, sent=10, received=70),
    })  # fmt: skip
    for reporter in ("source", "destination"):
        assert told["istio_tcp_connections_opened_total", reporter, "-"] == 3
        assert told["istio_tcp_connections_closed_total", reporter, "-"] == 2
        assert told["istio_tcp_received_bytes_total", reporter, "-"] == 10
        assert told["istio_tcp_sent_bytes_total", reporter, "-"] == 70


def test_failures_are_the_clients_and_denials_the_servers() -> None:
    told = traffic({
        SOURCE: account(failed=2, denied=1),
        DESTINATION: account(failed=2, denied=1),
    })  # fmt: skip
    assert told == {
        ("istio_tcp_connections_failed_total", "source", "CONNECT"): 2,
        ("istio_tcp_connections_failed_total", "destination", "DENY"): 1,
    }


def test_seconds_are_seconds() -> None:
    told = traffic({SOURCE: account(opened=1, latency=1_500_000_000, round_trip=250_000)})
    assert told["tandem_tcp_connect_seconds_total", "source", "-"] == 1.5
    assert told["tandem_tcp_round_trip_seconds_total", "source", "-"] == 0.25


def test_every_counter_of_the_kernels_is_told() -> None:
    values = {counter: 100 + counter for counter in Counter}
    told = [s.value for metric in families.kernel(values) for s in metric.samples]
    assert sorted(told) == sorted(values.values())


def test_a_counter_without_a_family_of_its_own_is_told_by_name(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(families, "PLAIN", {})
    told = {
        s.labels["counter"]: s.value
        for metric in families.kernel(dict.fromkeys(Counter, 5))
        for s in metric.samples
        if s.name == "tandem_kernel_total"
    }
    assert told["event_lost"] == 5


def test_maps_are_told_by_name() -> None:
    told = [
        (s.name, s.labels["map"], s.value)
        for metric in families.maps([("flows", 3, 10, 1)])
        for s in metric.samples
    ]
    assert told == [
        ("tandem_map_entries", "flows", 3),
        ("tandem_map_max_entries", "flows", 10),
        ("tandem_map_full_total", "flows", 1),
    ]


def test_ztunnels_names_of_the_rest() -> None:
    told = {
        (s.name, *s.labels.values()): s.value
        for metric in (
            *families.xds({"Reconnect": 1}, {"type": 2}, {"type": 300}),
            *families.enrolment(2, 5, 3),
            *families.build("ztunnel", "0.1"),
        )
        for s in metric.samples
    }
    assert told == {
        ("istio_xds_connection_terminations_total", "Reconnect"): 1,
        ("istio_xds_message_total", "type"): 2,
        ("istio_xds_message_bytes_total", "type"): 300,
        ("workload_manager_active_proxy_count",): 2,
        ("workload_manager_pending_proxy_count",): 0,
        ("workload_manager_proxies_started_total",): 5,
        ("workload_manager_proxies_stopped_total",): 3,
        ("istio_build", "ztunnel", "0.1"): 1,
    }
