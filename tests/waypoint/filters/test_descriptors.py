"""What requests count as, from Envoy's messages to descriptors."""

from __future__ import annotations

from typing import Any

import pytest

from tests.waypoint.decode.messages import sole
from waypoint.errors import RouteError
from waypoint.filters.descriptors import (
    Descriptor,
    HostLimits,
    cluster_of,
    descriptors,
    limits_of,
)
from waypoint.filters.verdicts import Asked
from waypoint.messages import Request
from waypoint.routing import Facts, Forward, Route, Source, WeightedCluster
from waypoint.routing.limits import GenericKey, RateLimit

ASKED = Asked(
    Request(b"GET", b"http", b"shop", b"/a?u=me&u=you&e=", ((b"x-user", b"ann"),)),
    Source("web", {"app": "front"}),
    Facts(remote=("10.1.2.3", 5), identity="spiffe://td/ns/web/sa/front"),
    {"envoy.filters.http.jwt_authn": {"payload": {"sub": "me", "age": 5}}},
)
JWT = "envoy.filters.http.jwt_authn"


def limits(*found: dict[str, Any]) -> tuple[RateLimit, ...]:
    """The limits of a route that has these."""
    route = sole({"match": {"prefix": ""}, "route": {"cluster": "c", "rate_limits": found}})
    assert isinstance(route.action, Forward)
    return route.action.limits


def made(*actions: dict[str, Any]) -> list[tuple[str, str]] | None:
    """The entries that actions make for the request above."""
    found = descriptors(limits({"actions": actions}), 0, ASKED, "outbound|80||shop")
    return list(found[0].entries) if found else None


def key(name: str, *path: str) -> dict[str, Any]:
    return {"key": name, "path": [{"key": each} for each in path]}


def is_ann(**more: Any) -> dict[str, Any]:
    exact = {"name": "x-user", "string_match": {"exact": "ann"}}
    return {"header_value_match": {"descriptor_value": "ann", "headers": [exact], **more}}


def has_u(value: str, **more: Any) -> dict[str, Any]:
    exact = {"name": "u", "string_match": {"exact": value}}
    match = {"descriptor_value": "v", "query_parameters": [exact], **more}
    return {"query_parameter_value_match": match}


@pytest.mark.parametrize(
    ("action", "entries"),
    [
        ({"generic_key": {"descriptor_value": "a"}}, [("generic_key", "a")]),
        (
            {"generic_key": {"descriptor_value": "a", "descriptor_key": "k"}},
            [("k", "a")],
        ),
        ({"destination_cluster": {}}, [("destination_cluster", "outbound|80||shop")]),
        ({"remote_address": {}}, [("remote_address", "10.1.2.3")]),
        (
            {"masked_remote_address": {"v4_prefix_mask_len": 16}},
            [("masked_remote_address", "10.1.0.0/16")],
        ),
        (
            {"request_headers": {"header_name": "X-User", "descriptor_key": "user"}},
            [("user", "ann")],
        ),
        (
            {"request_headers": {"header_name": ":path", "descriptor_key": "p"}},
            [("p", "/a?u=me&u=you&e=")],
        ),
        ({"request_headers": {"header_name": "no", "descriptor_key": "k"}}, None),
        (
            {"query_parameters": {"query_parameter_name": "u", "descriptor_key": "k"}},
            [("k", "me")],
        ),
        ({"query_parameters": {"query_parameter_name": "x", "descriptor_key": "k"}}, None),
        (is_ann(), [("header_match", "ann")]),
        (is_ann(expect_match=False), None),
        (has_u("me"), [("query_match", "v")]),
        (has_u("you", expect_match=False, descriptor_key="q"), [("q", "v")]),
        (
            {"metadata": {"descriptor_key": "k", "metadata_key": key(JWT, "payload", "sub")}},
            [("k", "me")],
        ),
        (
            {"metadata": {"descriptor_key": "k", "metadata_key": key(JWT, "payload", "age")}},
            None,
        ),
        (
            {
                "dynamic_metadata": {
                    "descriptor_key": "k",
                    "metadata_key": key("x", "y"),
                    "default_value": "none",
                }
            },
            [("k", "none")],
        ),
        (
            {
                "metadata": {
                    "descriptor_key": "who",
                    "metadata_key": key("tandem.io/source", "principal"),
                }
            },
            [("who", "spiffe://td/ns/web/sa/front")],
        ),
        (
            {
                "metadata": {
                    "descriptor_key": "app",
                    "metadata_key": key("tandem.io/source", "labels", "app"),
                }
            },
            [("app", "front")],
        ),
    ],
)
def test_actions(action: dict[str, Any], entries: list[tuple[str, str]] | None) -> None:
    assert made(action) == entries
    generic = {"generic_key": {"descriptor_value": "first"}}
    both = made(generic, action)
    assert both == (None if entries is None else [("generic_key", "first"), *entries])


def test_what_may_be_skipped_leaves_the_others() -> None:
    absent = {"header_name": "no", "descriptor_key": "k", "skip_if_absent": True}
    generic = {"generic_key": {"descriptor_value": "a"}}
    assert made({"request_headers": absent}, generic) == [("generic_key", "a")]
    assert made({"request_headers": absent}) is None


def test_stages_and_hits() -> None:
    generic = [{"generic_key": {"descriptor_value": "a"}}]
    found = limits(
        {"actions": generic},
        {"actions": generic, "stage": 3, "hits_addend": {"number": 5}, "disable_key": "k"},
    )
    entries = (("generic_key", "a"),)
    assert descriptors(found, 0, ASKED, "") == (Descriptor(entries),)
    assert descriptors(found, 3, ASKED, "") == (Descriptor(entries, 5),)


OWN = (RateLimit((GenericKey("k", "route"),)),)
HOSTS = (RateLimit((GenericKey("k", "host"),)),)


@pytest.mark.parametrize(
    ("own", "include", "option", "expected"),
    [
        (OWN, False, None, OWN),
        ((), False, None, HOSTS),
        (OWN, True, None, OWN + HOSTS),
        (OWN, False, HostLimits.INCLUDE, OWN + HOSTS),
        ((), True, HostLimits.IGNORE, ()),
        (OWN, True, HostLimits.OVERRIDE, OWN),
    ],
)
def test_a_virtual_hosts_limits(
    own: tuple[RateLimit, ...],
    include: bool,
    option: HostLimits | None,
    expected: tuple[RateLimit, ...],
) -> None:
    forward = Forward(
        (WeightedCluster("c", 1),),
        limits=own,
        host_limits=HOSTS,
        include_host_limits=include,
    )
    route = Route("r", forward)
    assert limits_of(route, option) == expected
    assert cluster_of(route) == "c"
    assert limits_of(None) == ()
    assert cluster_of(None) == ""


@pytest.mark.parametrize(
    ("limit", "named"),
    [
        ({"actions": []}, "actions is empty"),
        ({"actions": [{}]}, "action_specifier is missing"),
        ({"actions": [{"source_cluster": {}}]}, "source_cluster () is not supported"),
        ({"actions": [{"remote_address": {}}], "stage": 11}, "stage 11 is not in 0…10"),
        (
            {"actions": [{"remote_address": {}}], "hits_addend": {"format": "%A%"}},
            "hits_addend.format",
        ),
        (
            {"actions": [{"generic_key": {"descriptor_value": "%REQ(a)%"}}]},
            "generic_key.descriptor_value '%REQ(a)%'",
        ),
        (
            {"actions": [{"request_headers": {"header_name": "a b", "descriptor_key": "k"}}]},
            "header_name 'a b' is no header's name",
        ),
        (
            {"actions": [{"masked_remote_address": {"v4_prefix_mask_len": 33}}]},
            "v4_prefix_mask_len 33 is above 32",
        ),
        (
            {
                "actions": [
                    {
                        "metadata": {
                            "descriptor_key": "k",
                            "metadata_key": key("a", "b"),
                            "source": "ROUTE_ENTRY",
                        }
                    }
                ]
            },
            "only DYNAMIC metadata",
        ),
    ],
)
def test_what_is_not_honoured_is_named(limit: dict[str, Any], named: str) -> None:
    with pytest.raises(RouteError) as error:
        limits(limit)
    assert named in str(error.value)
    assert "route.rate_limits[0]" in str(error.value)
