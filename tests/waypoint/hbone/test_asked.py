from __future__ import annotations

from dataclasses import replace
from functools import partial

import pytest

from tests.waypoint.mesh import HTTP_PORT, service
from tests.waypoint.test_tunnelled import CALLER, WEB, WHO, targets
from waypoint.hbone.asked import Client, asked
from waypoint.targets import Target, Targets
from waypoint.worker import Caller
from ztunnel_compat.hbone import ConnectRequest, parse_authority
from ztunnel_compat.identity import Identity

CLIENT = Client(WHO, CALLER, 999)


def ask(
    made: Targets, authority: str, forwarded: str = "", client: Client = CLIENT
) -> tuple[Caller, Target] | None:
    request = ConnectRequest(parse_authority(authority.encode()), forwarded_for=forwarded)
    return asked(made, partial(made.state.workload_at, ""), client, request)


@pytest.mark.parametrize(
    ("authority", "name"),
    [
        ("10.96.0.7:80", WEB),
        ("web.apps.svc.cluster.local:80", WEB),
        ("WEB.apps.svc.cluster.local.:80", WEB),
        ("10.0.0.2:1234", "pod"),
    ],
)
def test_what_is_asked_for(authority: str, name: str) -> None:
    found = ask(targets(), authority)
    assert found is not None
    assert found[1].name == name


@pytest.mark.parametrize(
    "authority", ["10.96.0.7:81", "web.apps.svc.cluster.local:81", "web:80", "10.0.0.9:80"]
)
def test_what_is_not_of_this_waypoint(authority: str) -> None:
    assert ask(targets(), authority) is None


def test_a_name_in_several_namespaces_is_the_client_s_own_first_then_the_canonical() -> None:
    made = targets()
    web = service("web")
    for namespace, canonical in (("other", False), ("third", True)):
        made.apply(
            made.state.apply(
                [
                    replace(
                        web,
                        namespace=namespace,
                        canonical=canonical,
                        waypoint=replace(
                            web.waypoint,  # type: ignore[type-var]
                            destination=replace(
                                web.waypoint.destination,  # type: ignore
                                namespace="apps",
                            ),
                        ),
                    )
                ],
                (),
            )
        )
    for namespace, owner in (("apps", "apps"), ("other", "other"), ("nowhere", "third")):
        client = replace(CLIENT, identity=Identity("cluster.local", namespace, "default"))
        found = ask(made, f"{web.hostname}:{HTTP_PORT}", client=client)
        assert found is not None
        assert found[1].name == f"{owner}/{web.hostname}"


@pytest.mark.parametrize(
    ("forwarded", "port"),
    [("10.0.0.9:4711", 4711), ("10.0.0.8:4711", 999), ("", 999), ("nonsense", 999)],
)
def test_the_client_s_own_port_is_believed_beside_its_own_address(
    forwarded: str, port: int
) -> None:
    found = ask(targets(), "10.96.0.7:80", forwarded)
    assert found is not None
    assert found[0].peer.far_port == port
    assert found[0].log == f"10.96.0.7:80 10.0.0.9:{port} -"


def test_a_service_without_an_address_shows_none() -> None:
    made = targets()
    web = made.state.service(WEB)
    assert web is not None
    made.apply(made.state.apply([replace(web, addresses=())], ()))
    found = ask(made, f"{web.hostname}:80")
    assert found is not None
    assert found[0].log.startswith("0.0.0.0:80 ")
