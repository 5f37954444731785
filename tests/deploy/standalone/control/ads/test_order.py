from __future__ import annotations

import pytest
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from deploy.standalone.control.ads.order import PATIENCE, Order, Streams
from deploy.standalone.control.ads.session import DeltaSession
from deploy.standalone.control.pods import PodName
from deploy.standalone.control.translate.resources import ADDRESS_TYPE
from tests.deploy.standalone.control.helpers import AMBIENT, GATEWAY, Mesh, deployment, service

WEB = "shop/web.shop.svc.cluster.local"
PARTS = (GATEWAY, service("web"), deployment("web"), service("other", "plain"))


class Rig:
    """An order, a mesh with a waypoint, and the streams of its pods."""

    def __init__(self, processes: int = 1) -> None:
        self.time = 0.0
        self.order = Order(lambda: self.time)
        self.mesh = Mesh(AMBIENT, *PARTS)
        self.mesh.report()
        (pod,) = [name for name in self.mesh.view.pods if name[1].startswith("waypoint")]
        self.pod: PodName = pod
        self.sessions = [DeltaSession() for _ in range(processes)]

    @property
    def streams(self) -> Streams:
        return {self.pod: self.sessions} if self.sessions else {}

    def take(self, session: DeltaSession, *, ack: bool = True) -> None:
        """Have a stream get everything, and acknowledge it."""
        request = DeltaDiscoveryRequest(type_url=ADDRESS_TYPE)
        session.receive(request)
        (answer,) = session.responses({ADDRESS_TYPE: self.mesh.view.contents.waypoint})
        if ack:
            request.response_nonce = answer.nonce
            session.receive(request)

    def hold(self) -> set[str]:
        """Everything has changed: what nodes aren't told of yet."""
        self.order.hold(self.mesh.view.contents.ztunnel, self.mesh.view, self.streams)
        return set(self.order.held)

    def review(self) -> bool:
        return self.order.review(self.mesh.view, self.streams)


def test_what_leads_to_a_waypoint_waits_for_its_ack() -> None:
    rig = Rig()
    assert rig.hold() == {WEB}
    rig.take(rig.sessions[0], ack=False)
    assert not rig.review()
    rig = Rig()
    rig.hold()
    rig.take(rig.sessions[0])
    assert rig.review()
    assert rig.order.held == {}
    assert rig.hold() == set(), "it has it already"


def test_each_process_of_a_waypoint_counts() -> None:
    rig = Rig(processes=2)
    rig.hold()
    rig.take(rig.sessions[0])
    assert not rig.review()
    rig.take(rig.sessions[1])
    assert rig.review()


def test_patience_with_a_waypoint_that_is_away_ends(caplog: pytest.LogCaptureFixture) -> None:
    rig = Rig(processes=0)
    rig.hold()
    rig.time = PATIENCE - 1
    assert rig.hold() == {WEB}
    assert not rig.review()
    rig.time = PATIENCE
    assert rig.review()
    assert f"such as {WEB}" in caplog.text


@pytest.mark.parametrize("why", ["unready", "no waypoint", "gone"])
def test_nobody_waits_for_who_serves_nothing(why: str) -> None:
    rig = Rig(processes=0)
    rig.hold()
    if why == "unready":
        rig.mesh.report(ready=False, only="waypoint")
    elif why == "gone":
        rig.mesh.write(AMBIENT, GATEWAY)
    else:
        rig.mesh.write(AMBIENT.replace(", istio.io/use-waypoint: waypoint", ""), *PARTS)
    assert rig.review()
