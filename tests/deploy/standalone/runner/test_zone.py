"""What the cluster DNS knows."""

from __future__ import annotations

import dns.name
import dns.reversename
import pytest
from dns.rdatatype import RdataType

from deploy.standalone.config import MeshConfig
from deploy.standalone.runner.spec import EndpointView, ServicePortView, ServiceView
from deploy.standalone.runner.zone import Answer, Zone


def host(hostname: str, *vips: str) -> ServiceView:
    ports = (ServicePortView("http", 80),)
    return ServiceView("default", "entry", hostname, vips=vips, ports=ports, entry=True)


SERVICES = (
    ServiceView(
        "default",
        "web",
        "web.default.svc.cluster.local",
        vips=("10.96.1.2", "fd00:10:96::2"),
        ports=(ServicePortView("http", 80),),
    ),
    ServiceView("default", "four", "four.default.svc.cluster.local", vips=("10.96.1.3",)),
    ServiceView(
        "default",
        "db",
        "db.default.svc.cluster.local",
        headless=True,
        ports=(ServicePortView("sql", 5432),),
        endpoints=(
            EndpointView("db-0", ("10.244.1.5", "fd00:10:244:1::5"), True, {5432: 15432}),
            EndpointView("db-1", ("10.244.1.6",), True, {5432: 5432}),
            EndpointView("db-2", ("10.244.1.7",), False, {5432: 5432}),
        ),
    ),
    host("api.example.com", "240.240.1.9"),
    host("*.wild.example", "240.240.1.10", "2001:2::10"),
    host("closer.wild.example", "240.240.1.11"),
    host("*.b.wild.example", "240.240.1.12"),
    host("ranges.example"),
    host("outside.default.svc.cluster.local", "240.240.1.13"),
)


def ask(name: str, kind: str = "A") -> Answer | None:
    zone = Zone(MeshConfig(), SERVICES, shuffle=lambda records: records.sort())
    return zone.answer(dns.name.from_text(name), RdataType.make(kind))


def texts(name: str, kind: str = "A") -> list[str]:
    answer = ask(name, kind)
    assert answer is not None
    return [record.to_text() for record in answer.records]


@pytest.mark.parametrize(
    ("name", "kind", "records"),
    [
        ("web.default.svc.cluster.local", "A", ["10.96.1.2"]),
        ("WEB.Default.svc.cluster.local", "AAAA", ["fd00:10:96::2"]),
        ("_http._tcp.web.default.svc.cluster.local", "SRV",
         ["0 100 80 web.default.svc.cluster.local."]),
        ("db.default.svc.cluster.local", "A", ["10.244.1.5", "10.244.1.6"]),
        ("db.default.svc.cluster.local", "AAAA", ["fd00:10:244:1::5"]),
        ("db-1.db.default.svc.cluster.local", "A", ["10.244.1.6"]),
        ("10-244-1-6.db.default.svc.cluster.local", "A", ["10.244.1.6"]),
        ("_sql._tcp.db.default.svc.cluster.local", "SRV",
         ["0 100 5432 db-1.db.default.svc.cluster.local.",
          "0 100 15432 db-0.db.default.svc.cluster.local."]),
        ("2.1.96.10.in-addr.arpa", "PTR", ["web.default.svc.cluster.local."]),
        ("api.example.com", "A", ["240.240.1.9"]),
        ("API.example.com", "A", ["240.240.1.9"]),
        ("a.wild.example", "AAAA", ["2001:2::10"]),
        ("x.a.wild.example", "A", ["240.240.1.10"]),
        ("closer.wild.example", "A", ["240.240.1.11"]),
        ("x.b.wild.example", "A", ["240.240.1.12"]),
        ("outside.default.svc.cluster.local", "A", ["240.240.1.13"]),
    ],
)  # fmt: skip
def test_records(name: str, kind: str, records: list[str]) -> None:
    assert texts(name, kind) == records


@pytest.mark.parametrize(
    "name",
    [
        "nothing.default.svc.cluster.local",
        "nothing.cluster.local",
        "db-2.db.default.svc.cluster.local",
        "example.com.default.svc.cluster.local",
        "1.1.244.10.in-addr.arpa",
        dns.reversename.from_address("fd00:10:96::77").to_text(),
    ],
)
def test_names_of_ours_that_do_not_exist(name: str) -> None:
    assert ask(name) == Answer(exists=False)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("four.default.svc.cluster.local", "AAAA"),
        ("web.default.svc.cluster.local", "MX"),
        ("default.svc.cluster.local", "A"),
        ("svc.cluster.local", "A"),
        ("cluster.local", "A"),
        ("api.example.com", "AAAA"),
    ],
)
def test_names_without_a_record_of_the_kind(name: str, kind: str) -> None:
    assert ask(name, kind) == Answer(exists=True)


@pytest.mark.parametrize(
    ("name", "kind"),
    [
        ("example.com", "A"),
        ("cluster.local.example.com", "A"),
        ("1.2.3.4.in-addr.arpa", "A"),
        ("local", "A"),
        (".", "A"),
        ("wild.example", "A"),
        ("ranges.example", "A"),
        ("api.example.com", "MX"),
        ("_http._tcp.api.example.com", "SRV"),
        ("9.1.240.240.in-addr.arpa", "PTR"),
    ],
)
def test_what_others_answer(name: str, kind: str) -> None:
    assert ask(name, kind) is None


def test_srv_comes_with_addresses() -> None:
    answer = ask("_http._tcp.web.default.svc.cluster.local", "SRV")
    assert answer is not None
    assert [r.to_text() for _, r in answer.additional] == ["10.96.1.2", "fd00:10:96::2"]


def test_a_name_that_dns_cannot_hold_costs_only_itself() -> None:
    broken = ServiceView("d", "x", f"{'x' * 64}.d.svc.cluster.local", vips=("10.96.1.8",))
    zone = Zone(MeshConfig(), (broken, *SERVICES))
    name = dns.name.from_text("web.default.svc.cluster.local")
    assert zone.answer(name, RdataType.A) is not None
