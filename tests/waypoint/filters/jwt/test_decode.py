from __future__ import annotations

import math
from typing import Any

import pytest
from envoy.extensions.filters.http.jwt_authn.v3 import config_pb2 as pb
from google.protobuf import json_format

from tests.waypoint.filters.jwt.served import NAME, provider, remote
from waypoint.errors import RouteError
from waypoint.filters.chain import DISABLED
from waypoint.filters.jwt.decode import build, override
from waypoint.filters.jwt.places import CookiePlace, HeaderPlace, ParamPlace
from waypoint.filters.jwt.settings import (
    AllOf,
    AllowFailed,
    AllowMissing,
    AnyOf,
    ByProvider,
    ClaimHeader,
    Override,
    Provider,
    Requirement,
    Settings,
)
from waypoint.filters.jwt.slots import Remote

ANY = {"prefix": "/"}


def made(message: dict[str, Any]) -> Settings:
    value = json_format.ParseDict(message, pb.JwtAuthentication()).SerializeToString()
    return build(NAME, value, "at.").settings


def one(**more: Any) -> Provider:
    (found,) = made({"providers": {"p": provider(**more)}}).providers
    return found


def required(requires: dict[str, Any]) -> Requirement | None:
    rules = [{"match": ANY, "requires": requires}]
    providers = {"a": provider(), "b": provider()}
    return made({"providers": providers, "rules": rules}).rules[0].requirement


def test_a_whole_provider() -> None:
    found = one(
        audiences=["https://a/"],
        require_expiration=True,
        clock_skew_seconds=5,
        forward=True,
        from_headers=[{"name": "X-T", "value_prefix": "T "}],
        from_params=["p"],
        from_cookies=["c"],
        forward_payload_header="X-P",
        pad_forward_payload_header=True,
        header_in_metadata="head",
        failed_status_in_metadata="why",
        jwt_cache_config={"jwt_cache_size": 5, "jwt_max_token_size": 6},
        claim_to_headers=[{"header_name": "X-C", "claim_name": "a.b"}],
        normalize_payload_in_metadata={"space_delimited_claims": ["scope"]},
        clear_route_cache=True,
    )
    assert found.audiences == {"a"}
    assert (found.lifetime, found.skew, found.forward) == (math.inf, 5, True)
    assert found.places == (HeaderPlace(b"x-t", b"T "), ParamPlace(b"p"), CookiePlace(b"c"))
    assert (found.payload_header, found.padded) == (b"x-p", True)
    assert found.claim_headers == (ClaimHeader(b"x-c", ("a", "b")),)
    assert found.reserved == {b"x-p", b"x-c"}
    assert (found.payload_note, found.header_note, found.failure_note) == (
        "payload", "head", "why",
    )  # fmt: skip
    assert (found.space_delimited, found.clear_route_cache) == (("scope",), True)
    assert found.slot.source is None
    assert found.slot.held.keys is not None


def test_defaults() -> None:
    found = one(max_lifetime="9s")
    assert (found.skew, found.lifetime, found.places) == (60, 9.0, ())
    assert one().lifetime is None


def test_remote_keys() -> None:
    retry = {"num_retries": 3, "retry_back_off": {"base_interval": "0.1s"}}
    more = {
        "cache_duration": "60s",
        "async_fetch": {"fast_listener": True, "failed_refetch_duration": "2s"},
        "retry_policy": retry,
    }
    found = made({"providers": {"p": remote("https://i/keys?a", "c", "2s", **more)}})
    assert found.providers[0].slot.source == Remote(
        "https://i/keys?a", "c", 2.0, 60.0, 2.0, 3, (0.1, 1.0)
    )
    assert made({"providers": {"p": remote("http://i")}}).providers[0].slot.source == Remote(
        "http://i"
    )


def test_requirements() -> None:
    a, b = {"provider_name": "a"}, {"provider_name": "b"}
    missing: dict[str, Any] = {"allow_missing": {}}
    failed: dict[str, Any] = {"allow_missing_or_failed": {}}
    anything: dict[str, Any] = {}

    def any_of(*each: dict[str, Any]) -> Requirement | None:
        return required({"requires_any": {"requirements": each}})

    found = required(a)
    assert isinstance(found, ByProvider)
    assert (found.provider.name, found.audiences) == ("a", None)
    found = required({"provider_and_audiences": {"provider_name": "b", "audiences": ["x/"]}})
    assert isinstance(found, ByProvider)
    assert (found.provider.name, found.audiences) == ("b", {"x"})
    assert required(anything) is None
    assert isinstance(required(missing), AllowMissing)
    assert isinstance(any_of(missing, failed), AllowFailed)
    assert isinstance(any_of(missing, missing), AllowMissing)
    assert any_of(anything, a) is None
    optional = any_of(a, missing)
    assert isinstance(optional, AnyOf)
    assert (len(optional.requirements), optional.missing, optional.failed) == (1, True, False)
    # What comes before what everybody fulfils is still looked at.
    looked = any_of(a, anything, b)
    assert isinstance(looked, AnyOf)
    assert (len(looked.requirements), looked.failed) == (1, True)
    both = required({"requires_all": {"requirements": [a, anything, b]}})
    assert isinstance(both, AllOf)
    assert len(both.requirements) == 2


def nested(depth: int) -> dict[str, Any]:
    found: dict[str, Any] = {"provider_name": "p"}
    for _ in range(depth):
        found = {"requires_all": {"requirements": [found, {"provider_name": "p"}]}}
    return found


@pytest.mark.parametrize(
    ("message", "named"),
    [
        ({"filter_state_rules": {"name": "x"}}, r"at\.filter_state_rules"),
        ({"rules": [{"match": ANY, "requires": {"provider_name": "x"}}]},
         r"rules\[0\]\.requires\.provider_name 'x' is not configured"),
        ({"rules": [{"match": ANY, "requirement_name": "x"}]}, "'x' is not in requirement_map"),
        ({"rules": [{"match": {**ANY, "runtime_fraction": {"default_value": {}}}}]},
         "runtime_fraction is not supported"),
        ({"rules": [{"match": ANY, "requires": nested(11)}]}, "nested deeper than 10"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_rules(message: dict[str, Any], named: str) -> None:
    with pytest.raises(RouteError, match=named):
        made({"providers": {"p": provider()}} | message)


@pytest.mark.parametrize(
    ("entry", "named"),
    [
        ({"issuer": "i"}, r"providers\[p\]\.jwks_source_specifier is missing"),
        (provider(local_jwks={"filename": "/k"}), "local_jwks.filename"),
        (provider(local_jwks={"inline_string": "x"}), "local_jwks: Jwks is an invalid JSON"),
        (provider(forward_payload_header="a b"), "'a b' is no header's name"),
        (provider(forward_payload_header="Host"), "forward_payload_header host"),
        (provider(claim_to_headers=[{"header_name": "content-length", "claim_name": "c"}]),
         "it says where messages end"),
        (provider(claim_to_headers=[{"header_name": "x"}]), "claim_name is empty"),
        (provider(from_params=[""]), "from_params '' is empty"),
        (provider(from_cookies=["a b"]), "from_cookies 'a b'"),
        (remote("ftp://i"), "uri 'ftp://i' is no http"),
        (remote("http://"), "is no http"),
        (remote("http://i:x/"), "is no http"),
        (remote("http://i/\r\nx"), "is no http"),
        (remote("http://i", timeout="0s"), "timeout 0.0 s is not from 0 to 60 s"),
        (remote("http://i", timeout="61s"), "timeout 61.0 s"),
        (remote("http://i", retry_policy={"num_retries": 11}), "num_retries 11 is more"),
        (remote("http://i", retry_policy={"retry_on": "x"}), "retry_on"),
        (remote("http://i", retry_policy={"retry_back_off": {}}), "base_interval 0.0 s"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_providers(entry: dict[str, Any], named: str) -> None:
    with pytest.raises(RouteError, match=named):
        made({"providers": {"p": entry}})


def test_named_requirements() -> None:
    found = made(
        {
            "providers": {"p": provider()},
            "requirement_map": {"r": {"provider_name": "p"}, "none": {}},
            "rules": [{"match": ANY, "requirement_name": "r"}, {"match": ANY}],
        }
    )
    assert [rule.requirement for rule in found.rules] == [found.named["r"], None]
    assert found.named["none"] is None


def test_overrides() -> None:
    def read(**fields: Any) -> Any:
        return override(pb.PerRouteConfig(**fields).SerializeToString(), "at.")

    assert read(requirement_name="r") == Override("r")
    assert read(disabled=True) == DISABLED
    with pytest.raises(RouteError, match="neither disabled nor requirement_name"):
        read()


def test_clusters_and_connections() -> None:
    message = {
        "providers": {"p": remote("http://i", "c"), "q": remote("http://j"), "r": provider()},
        "rules": [{"match": ANY, "requires": {"provider_name": "p"}}],
    }
    value = json_format.ParseDict(message, pb.JwtAuthentication())
    found = build(NAME, value.SerializeToString(), "")
    assert found.clusters == ("c",)
    assert not found.reads_connection
    who = value.rules[0].match.dynamic_metadata.add(filter="tandem.io/source")
    who.path.add(key="namespace")
    who.value.string_match.exact = "shop"
    assert build(NAME, value.SerializeToString(), "").reads_connection
