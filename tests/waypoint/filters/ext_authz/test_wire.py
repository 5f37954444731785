"""Answers of an authorization server, good and broken, as rulings and verdicts."""

from __future__ import annotations

import random

import pytest
from envoy.service.auth.v3.external_auth_pb2 import CheckResponse
from google.protobuf.json_format import ParseDict

from waypoint.errors import InquiryError
from waypoint.filters.ext_authz.settings import Settings
from waypoint.filters.ext_authz.verdict import verdict_of
from waypoint.filters.ext_authz.wire import decoded
from waypoint.filters.unary import GrpcService
from waypoint.filters.verdicts import Passed, Refusal
from waypoint.messages import Request

SETTINGS = Settings(GrpcService("c", b"c", 1.0))
ASKED = Request(b"GET", b"http", b"web", b"/a?b=1", ((b"x-a", b"1"), (b"x-a", b"2")))
RICH = ParseDict(
    {
        "status": {"code": 0},
        "ok_response": {
            "headers": [{"header": {"key": "x-user", "value": "ann"}, "append": True}],
            "headers_to_remove": ["x-a"],
            "response_headers_to_add": [{"header": {"key": "x-b", "value": "c"}}],
            "query_parameters_to_set": [{"key": "k", "value": "v"}],
            "query_parameters_to_remove": ["b"],
        },
        "dynamic_metadata": {"tier": "gold"},
    },
    CheckResponse(),
).SerializeToString()
NO = ParseDict(
    {
        "status": {"code": 7},
        "denied_response": {
            "status": {"code": 401},
            "headers": [{"header": {"key": "x-why", "value": "no"}}],
            "body": "no",
        },
    },
    CheckResponse(),
).SerializeToString()


def test_a_rich_answer() -> None:
    verdict = verdict_of(decoded(RICH), ASKED, SETTINGS)
    assert isinstance(verdict, Passed)
    assert verdict.request == ASKED._replace(path=b"/a?k=v", fields=())
    assert verdict.notes == {"tier": "gold"}
    assert not verdict.reroute


def test_an_error_of_the_servers_own_words() -> None:
    message = CheckResponse()
    message.error_response.status.code = 502
    verdict = verdict_of(decoded(message.SerializeToString()), ASKED, SETTINGS)
    assert isinstance(verdict, Refusal)
    assert (verdict.status, verdict.details) == (502, "ext_authz_error")


def test_what_frames_or_directs_a_message_is_nobody_s_to_set() -> None:
    names = (":status", ":path", "Host", "Content-Length", "Transfer-Encoding", "Connection")
    options = [{"header": {"key": name, "value": "1"}} for name in (*names, "x-fine")]
    denied = {"status": {"code": 7}, "denied_response": {"headers": options}}
    refusal = verdict_of(
        decoded(ParseDict(denied, CheckResponse()).SerializeToString()), ASKED, SETTINGS
    )
    assert isinstance(refusal, Refusal)
    assert refusal.fields == ((b"x-fine", b"1"),)
    allowed = {"ok_response": {"headers": options}}
    passed = verdict_of(
        decoded(ParseDict(allowed, CheckResponse()).SerializeToString()), ASKED, SETTINGS
    )
    assert isinstance(passed, Passed)
    assert passed.request == ASKED._replace(fields=(*ASKED.fields, (b"x-fine", b"1")))


def fuzz(count: int, seed: int) -> None:
    """Broken answers: refused, or followed with nothing that a head can't hold."""
    chance = random.Random(seed)
    for _ in range(count):
        data = bytearray(chance.choice((RICH, NO)))
        for _ in range(chance.randrange(1, 5)):
            at = chance.randrange(len(data))
            match chance.randrange(3):
                case 0:
                    data[at] = chance.randrange(256)
                case 1:
                    del data[at]
                case _:
                    data.insert(at, chance.choice((0, 10, 13, 32, 58, 127, 255)))
        try:
            verdict = verdict_of(decoded(bytes(data)), ASKED, SETTINGS)
        except InquiryError:
            continue
        fields = verdict.fields if isinstance(verdict, Refusal) else ()
        if isinstance(verdict, Passed) and verdict.request is not None:
            fields = verdict.request.fields
            assert not set(b"\r\n\0 ") & set(verdict.request.path)
        for name, value in fields:
            assert not set(b"\r\n\0: ") & set(name)
            assert not set(b"\r\n\0") & set(value)


def test_broken_answers_break_nothing() -> None:
    fuzz(5_000, 7)


@pytest.mark.soak
def test_many_broken_answers_break_nothing() -> None:
    fuzz(200_000, 8)
