"""Transcripts: what a client sends, and what it gets."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest

from deploy.standalone.control.ads.session import MAX_MEMBERS, MAX_NAMES, DeltaSession
from deploy.standalone.control.translate.resources import (
    ADDRESS_TYPE,
    AUTHORIZATION_TYPE,
    Resource,
    pack,
)
from proto import workload_pb2 as pb
from ztunnel_compat.xds import MEMBERS_TYPE


def resource(name: str, content: str = "") -> Resource:
    return pack(name, pb.Address(workload=pb.Workload(uid=name, hostname=content)))


class Server:
    """A session over a content that the test changes."""

    def __init__(self, *names: str) -> None:
        self.session = DeltaSession()
        self.content = {name: resource(name) for name in names}

    def send(self, url: str = ADDRESS_TYPE, **fields: Any) -> list[str]:
        """A request; what is logged."""
        error = fields.pop("error", None)
        request = DeltaDiscoveryRequest(type_url=url, **fields)
        if error is not None:
            request.error_detail.message = error
        return self.session.receive(request)

    def change(self, **content: str | None) -> None:
        """Give resources new content; None: they are gone."""
        for name, text in content.items():
            if text is None:
                del self.content[name]
            else:
                self.content[name] = resource(name, text)
        self.session.changed(ADDRESS_TYPE, content.keys())

    def due(self) -> list[tuple[list[str], list[str]]]:
        """The names that each response due now updates and removes."""
        contents = {ADDRESS_TYPE: self.content, AUTHORIZATION_TYPE: {}}
        self.last = self.session.responses(contents)
        return [
            ([r.name for r in response.resources], list(response.removed_resources))
            for response in self.last
        ]

    def ack(self) -> None:
        """Acknowledge what was last sent."""
        for response in self.last:
            self.send(response.type_url, response_nonce=response.nonce)


def versions(server: Server, names: Sequence[str]) -> dict[str, str]:
    return {name: server.content[name].version for name in names}


def test_wildcard_gets_everything_then_only_what_changed() -> None:
    for names in ([], ["*"]):
        server = Server("a", "b")
        server.send(resource_names_subscribe=names)
        assert server.due() == [(["a", "b"], [])]
        assert server.last[0].resources[0].version == server.content["a"].version
        server.ack()
        assert server.due() == []
        server.change(b="new")
        assert server.due() == [(["b"], [])]
        server.ack()
        server.change(a=None, c="x")
        assert server.due() == [(["c"], ["a"])]


def test_a_change_back_to_what_the_client_has_sends_nothing() -> None:
    server = Server("a")
    server.send()
    server.due()
    server.ack()
    server.change(a="x")
    server.change(a="")
    assert server.due() == []


def test_an_empty_first_answer_is_sent_for_every_type() -> None:
    server = Server()
    server.send()
    server.send(AUTHORIZATION_TYPE)
    assert server.due() == [([], []), ([], [])]
    assert [response.type_url for response in server.last] == [ADDRESS_TYPE, AUTHORIZATION_TYPE]
    server.ack()
    assert server.due() == []


def test_nothing_is_sent_before_the_last_answer_is_acknowledged() -> None:
    server = Server("a")
    server.send()
    assert server.due() == [(["a"], [])]
    first = server.last
    for content in ("1", "2", "3"):
        server.change(a=content)
        assert server.due() == []
    server.last = first
    server.ack()
    assert server.due() == [(["a"], [])], "one answer, with the newest content"
    assert server.last[0].resources[0].version == server.content["a"].version


def test_a_stale_nonce_acknowledges_nothing() -> None:
    server = Server("a")
    server.send()
    server.due()
    server.change(a="x")
    server.send(response_nonce="77")
    assert server.due() == []


def test_a_rejected_resource_is_not_sent_again_until_it_changes() -> None:
    server = Server("a", "b")
    server.send()
    server.due()
    notes = server.send(response_nonce=server.last[0].nonce, error="a: bad port")
    assert notes == [f"rejected of {ADDRESS_TYPE}: a: bad port"]
    assert server.session.status()[ADDRESS_TYPE]["nacked"] == "a: bad port"
    assert server.due() == []
    server.change(b="x")
    assert server.due() == [(["b"], [])]
    server.ack()
    assert server.session.status()[ADDRESS_TYPE]["nacked"] == ""
    server.change(a="y")
    assert server.due() == [(["a"], [])]


def test_reconnect_skips_what_the_client_has_and_removes_what_is_gone() -> None:
    server = Server("a", "b", "c")
    held = {**versions(server, ["a"]), "b": "old", "gone": "1"}
    server.send(initial_resource_versions=held)
    assert server.due() == [(["b", "c"], ["gone"])]


def test_reconnect_with_everything_current_gets_an_empty_answer() -> None:
    server = Server("a")
    server.send(initial_resource_versions=versions(server, ["a"]))
    assert server.due() == [([], [])]


def test_by_name() -> None:
    server = Server("a", "b")
    server.send(resource_names_subscribe=["a", "unknown"])
    assert server.due() == [(["a"], ["unknown"])]
    server.ack()
    server.change(b="x")
    assert server.due() == []
    server.change(unknown="now")
    assert server.due() == [(["unknown"], [])]
    server.ack()
    server.send(resource_names_subscribe=["b"], resource_names_unsubscribe=["a"])
    assert server.due() == [(["b"], [])]
    server.ack()
    server.change(a="x")
    assert server.due() == []


def test_a_name_that_is_asked_for_again_is_sent_again() -> None:
    server = Server("a")
    server.send(resource_names_subscribe=["a"])
    server.due()
    server.ack()
    server.send(resource_names_subscribe=["a"])
    assert server.due() == [(["a"], [])]


def test_by_name_after_reconnect_skips_what_the_client_has() -> None:
    server = Server("a")
    held = versions(server, ["a"])
    server.send(resource_names_subscribe=["a"], initial_resource_versions=held)
    assert server.due() == [([], [])]


def test_wildcard_and_unsubscribed_from_it_at_once_is_on_demand() -> None:
    server = Server("a", "b")
    server.send(resource_names_subscribe=["*"], resource_names_unsubscribe=["*"])
    assert server.due() == [([], [])]
    server.ack()
    server.send(resource_names_subscribe=["b"])
    assert server.due() == [(["b"], [])]


def test_leaving_the_wildcard_keeps_the_names() -> None:
    server = Server("a", "b")
    server.send(resource_names_subscribe=["*", "a"])
    server.due()
    server.ack()
    server.send(resource_names_unsubscribe=["*"])
    server.change(a="x", b="x")
    assert server.due() == [(["a"], [])]


def test_an_unknown_type_is_logged_once_and_ignored() -> None:
    server = Server()
    assert server.send("type.example/x") == [
        "asks for 'type.example/x', which is not served: ignored"
    ]
    assert server.send("type.example/x") == []
    assert server.due() == []


def test_subscriptions_are_bounded() -> None:
    server = Server()
    notes = server.send(resource_names_subscribe=[f"n{i:06}" for i in range(MAX_NAMES + 5)])
    assert notes == [f"more than {MAX_NAMES} names of {ADDRESS_TYPE}: some are not served"]
    assert len(server.session.subscriptions[ADDRESS_TYPE].names) == MAX_NAMES


def test_members_are_taken_without_an_answer() -> None:
    server = Server("a")
    assert server.send(MEMBERS_TYPE, resource_names_subscribe=["x", "y"]) == []
    assert server.send(MEMBERS_TYPE, resource_names_unsubscribe=["y", "z"]) == []
    assert server.session.members == {"x"}
    assert server.due() == []


def test_members_are_bounded() -> None:
    server = Server()
    names = [f"n{i:06}" for i in range(MAX_MEMBERS + 5)]
    assert server.send(MEMBERS_TYPE, resource_names_subscribe=names) == [
        f"names more than {MAX_MEMBERS} members: some don't count"
    ]
    assert len(server.session.members) == MAX_MEMBERS
