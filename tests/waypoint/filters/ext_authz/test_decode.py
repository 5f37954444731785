"""What of ExtAuthz is honoured, and what is refused by name."""

from __future__ import annotations

from typing import Any

import pytest
from envoy.extensions.filters.http.ext_authz.v3.ext_authz_pb2 import (
    ExtAuthz,
    ExtAuthzPerRoute,
)
from google.protobuf.json_format import ParseDict

from waypoint.errors import RouteError
from waypoint.filters.chain import DISABLED
from waypoint.filters.ext_authz.decode import build, override
from waypoint.filters.ext_authz.settings import BodySettings, Override, Settings
from waypoint.filters.unary import GrpcService

GRPC = {"grpc_service": {"envoy_grpc": {"cluster_name": "outbound|80||a.b"}}}
URI = {"uri": "http://a", "cluster": "outbound|80||a.b", "timeout": "1s"}


def settings(**given: Any) -> Settings:
    message = ParseDict(given, ExtAuthz())
    return build("f", message.SerializeToString(), "at.").settings


def by_http(**given: Any) -> Settings:
    return settings(http_service={"server_uri": URI, **given})


def test_what_says_little_fails_closed_within_200_ms() -> None:
    assert settings(**GRPC) == Settings(GrpcService("outbound|80||a.b", b"a.b", 0.2))
    assert build("f", ParseDict(GRPC, ExtAuthz()).SerializeToString(), "").clusters == (
        "outbound|80||a.b",
    )


@pytest.mark.parametrize(
    ("given", "named"),
    [
        ({}, "at.grpc_service or http_service is missing"),
        ({"grpc_service": {"google_grpc": {"target_uri": "a"}}}, "grpc_service.google_grpc"),
        ({**GRPC, "transport_api_version": "V2"}, "transport_api_version V2 is not V3"),
        ({**GRPC, "deny_at_disable": {"runtime_key": "a"}}, "at.deny_at_disable"),
        ({**GRPC, "include_tls_session": True}, "at.include_tls_session"),
        ({**GRPC, "with_request_body": {}}, "with_request_body.max_request_bytes 0"),
        ({**GRPC, "status_on_error": {"code": 100}}, "status_on_error.code 100"),
        ({"grpc_service": {**GRPC["grpc_service"], "timeout": "0s"}}, "timeout is 0"),
        ({"http_service": {}}, "http_service.server_uri.cluster is missing"),
        ({"http_service": {"server_uri": URI, "path_prefix": "a"}}, "doesn't begin with /"),
        (
            {
                "http_service": {
                    "server_uri": URI,
                    "authorization_request": {
                        "headers_to_add": [{"key": "a", "value": "%REQ(b)%"}]
                    },
                }
            },
            "headers_to_add[0].value '%REQ(b)%'",
        ),
        (
            {
                **GRPC,
                "filter_enabled_metadata": {
                    "filter": "x",
                    "path": [{"key": "y"}],
                },
            },
            "filter_enabled_metadata.value.match_pattern is missing",
        ),
    ],
)
def test_what_is_not_honoured_is_named(given: dict[str, Any], named: str) -> None:
    with pytest.raises(RouteError) as error:
        settings(**given)
    assert named in str(error.value)


def test_a_routes_own() -> None:
    def of(**given: Any) -> Any:
        return override(ParseDict(given, ExtAuthzPerRoute()).SerializeToString(), "at.")

    assert of(disabled=True) == DISABLED
    body = {"max_request_bytes": 5, "allow_partial_message": True}
    assert of(check_settings={"context_extensions": {"a": "b"}, "with_request_body": body}) == (
        Override({"a": "b"}, BodySettings(5, partial=True))
    )
    assert of(check_settings={"disable_request_body_buffering": True}).no_body
    with pytest.raises(RouteError, match=r"at\.check_settings\.grpc_service"):
        of(check_settings=GRPC)


def test_names_of_headers_have_no_case() -> None:
    listed = {"patterns": [{"exact": "X-User"}, {"prefix": "X-Ext-"}]}
    found = by_http(authorization_response={"allowed_upstream_headers": listed})
    patterns = found.service.upstream  # type: ignore[union-attr]
    assert [each.test(b"x-user") for each in patterns] == [True, False]
    assert patterns[1].test(b"x-ext-a")
