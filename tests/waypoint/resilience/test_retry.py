from __future__ import annotations

import random

import pytest

from waypoint.messages import Field, Response
from waypoint.resilience.retry import (
    CONDITIONS,
    DEFAULT_POLICY,
    Attempt,
    Failure,
    RateLimitReset,
    RetryPolicy,
    Verdict,
    backoff,
    decide,
    delay,
    per_try,
)


def answer(status: int, *fields: Field) -> Response:
    return Response(status, fields)


def got(status: int, *fields: Field, method: bytes = b"GET") -> Attempt:
    return Attempt(method, answer(status, *fields), sent=100)


def failed(failure: Failure, *, sent: int = 100, unprocessed: bool = False) -> Attempt:
    return Attempt(b"POST", None, failure, sent, unprocessed)


def grpc(status: int) -> Attempt:
    return got(200, (b"grpc-status", b"%d" % status))


CONNECT = failed(Failure.CONNECT, sent=0)
RESET = failed(Failure.RESET)
UNSENT = failed(Failure.RESET, sent=0)
REFUSED = failed(Failure.REFUSED, unprocessed=True)
TRY_TIMEOUT = failed(Failure.PER_TRY_TIMEOUT)
OVERFLOW = failed(Failure.OVERFLOW, sent=0, unprocessed=True)
LIMITED = got(503, (b"x-envoy-ratelimited", b"true"))
MARKED = got(200, (b"x-retry", b"yes"))

EVERY = {
    "connect": CONNECT, "reset": RESET, "unsent": UNSENT, "refused": REFUSED,
    "try timeout": TRY_TIMEOUT, "overflow": OVERFLOW, "limited": LIMITED, "marked": MARKED,
    "200": got(200), "404": got(404), "409": got(409), "429": got(429), "500": got(500),
    "502": got(502), "503": got(503), "504": got(504),
    "grpc 0": grpc(0), "grpc 1": grpc(1), "grpc 4": grpc(4), "grpc 8": grpc(8),
    "grpc 13": grpc(13), "grpc 14": grpc(14),
    "grpc ?": got(200, (b"grpc-status", b"x")),
}  # fmt: skip
NO_ANSWER = {"connect", "reset", "unsent", "refused", "try timeout"}
RETRIED: dict[str, set[str]] = {
    "5xx": NO_ANSWER | {"500", "502", "503", "504"},
    "gateway-error": NO_ANSWER | {"502", "503", "504"},
    "reset": NO_ANSWER,
    "reset-before-request": {"connect", "unsent", "refused"},
    "connect-failure": {"connect"},
    "retriable-4xx": {"409"},
    "refused-stream": {"refused"},
    "retriable-status-codes": {"404", "429"},
    "retriable-headers": {"marked"},
    "envoy-ratelimited": {"limited"},
    "http3-post-connect-failure": set(),
    "cancelled": {"grpc 1"},
    "deadline-exceeded": {"grpc 4"},
    "resource-exhausted": {"grpc 8"},
    "internal": {"grpc 13"},
    "unavailable": {"grpc 14"},
}


def test_every_condition_is_in_the_table() -> None:
    assert RETRIED.keys() == CONDITIONS


@pytest.mark.parametrize("condition", sorted(CONDITIONS))
def test_conditions(condition: str) -> None:
    policy = RetryPolicy(
        frozenset({condition}),
        statuses=frozenset({404, 429}),
        header_matchers=(lambda a: False, lambda a: (b"x-retry", b"yes") in a.fields),
    )
    retried = {name for name, a in EVERY.items() if decide(policy, a, 0) is Verdict.RETRY}
    assert retried == RETRIED[condition]


def test_no_condition_no_retry() -> None:
    policy = RetryPolicy(frozenset(), statuses=frozenset({503}))
    assert {decide(policy, a, 0) for a in EVERY.values()} == {Verdict.FINAL}


FIVE = RetryPolicy(frozenset({"5xx"}), attempts=2)


@pytest.mark.parametrize(
    ("attempt", "made", "room", "body", "verdict"),
    [
        (got(503), 0, True, True, Verdict.RETRY),
        (got(503), 1, True, True, Verdict.RETRY),
        (got(503), 2, True, True, Verdict.EXHAUSTED),
        (got(503), 0, False, True, Verdict.OVERFLOW),
        (got(503), 0, True, False, Verdict.BODY),
        (got(200), 0, False, False, Verdict.FINAL),
        # A client that has a part of the answer can't be given another.
        (Attempt(b"GET", answer(503), begun=True), 0, True, True, Verdict.BEGUN),
        (Attempt(b"GET", None, Failure.RESET, begun=True), 0, True, True, Verdict.BEGUN),
        # The whole request's time: its 504 is the client's.
        (failed(Failure.TIMEOUT), 0, True, True, Verdict.TIMEOUT),
        # A policy that somebody wrote retries what it names, POST too.
        (got(503, method=b"POST"), 0, True, True, Verdict.RETRY),
    ],
)
def test_bounds(attempt: Attempt, made: int, room: bool, body: bool, verdict: Verdict) -> None:
    assert decide(FIVE, attempt, made, room=room, body=body) is verdict


def shot(method: bytes, failure: Failure, *, sent: int, unprocessed: bool = False) -> Attempt:
    return Attempt(method, None, failure, sent, unprocessed)


@pytest.mark.parametrize(
    ("attempt", "verdict"),
    [
        (shot(b"POST", Failure.CONNECT, sent=0), Verdict.RETRY),
        (shot(b"GET", Failure.CONNECT, sent=0), Verdict.RETRY),
        (shot(b"GET", Failure.REFUSED, sent=200, unprocessed=True), Verdict.RETRY),
        (shot(b"PUT", Failure.REFUSED, sent=200, unprocessed=True), Verdict.RETRY),
        # Never what isn't idempotent, once bytes of it were sent.
        (shot(b"POST", Failure.REFUSED, sent=200, unprocessed=True), Verdict.UNSAFE),
        (shot(b"PATCH", Failure.REFUSED, sent=1, unprocessed=True), Verdict.UNSAFE),
        (shot(b"POST", Failure.REFUSED, sent=0, unprocessed=True), Verdict.RETRY),
        # What may have been processed.
        (shot(b"GET", Failure.REFUSED, sent=200), Verdict.UNSAFE),
        (grpc(14), Verdict.UNSAFE),
        (grpc(1), Verdict.UNSAFE),
        (shot(b"GET", Failure.RESET, sent=200), Verdict.FINAL),
        (got(503), Verdict.FINAL),
        (shot(b"GET", Failure.TIMEOUT, sent=200), Verdict.TIMEOUT),
        (shot(b"GET", Failure.PER_TRY_TIMEOUT, sent=200), Verdict.FINAL),
    ],
)
def test_the_default_retries_only_what_cannot_be_done_twice(
    attempt: Attempt, verdict: Verdict
) -> None:
    assert decide(DEFAULT_POLICY, attempt, 0) is verdict


def test_whatever_happens_the_default_never_risks_a_second_effect() -> None:
    draw = random.Random(8)
    for _ in range(5000):
        attempt = Attempt(
            draw.choice([b"GET", b"POST", b"PUT", b"PATCH"]),
            draw.choice([None, answer(503), answer(200, (b"grpc-status", b"14"))]),
            draw.choice(list(Failure)),
            draw.choice([0, 50]),
            draw.random() < 0.5,
        )
        if decide(DEFAULT_POLICY, attempt, 0) is Verdict.RETRY:
            assert attempt.unprocessed or attempt.failure is Failure.CONNECT
            assert attempt.method in {b"GET", b"PUT"} or attempt.sent == 0


@pytest.mark.parametrize(
    ("retry", "drawn", "seconds"),
    [(1, 0.0, 0.0), (1, 0.5, 0.0125), (2, 1.0, 0.075), (3, 1.0, 0.175), (4, 1.0, 0.25),
     (4, 0.5, 0.125), (1000, 0.5, 0.125)],
)  # fmt: skip
def test_backoff(retry: int, drawn: float, seconds: float) -> None:
    assert backoff(FIVE, retry, drawn) == pytest.approx(seconds)


RESETS = RetryPolicy(
    frozenset({"5xx"}),
    resets=(RateLimitReset(b"retry-after", True), RateLimitReset(b"x-reset", False)),
)


@pytest.mark.parametrize(
    ("fields", "drawn", "seconds"),
    [
        ([(b"retry-after", b"3")], 0.0, 3.0),
        ([(b"retry-after", b"3")], 0.5, 3.75),
        ([(b"x-reset", b"1010")], 0.0, 10.0),
        # The first header that says something of use.
        ([(b"x-reset", b"1010"), (b"retry-after", b"2")], 0.0, 2.0),
        ([(b"x-reset", b"1010"), (b"retry-after", b"soon")], 0.0, 10.0),
        # No use: back-off as ever.
        ([(b"retry-after", b"301")], 0.5, 0.0125),
        ([(b"retry-after", b"0")], 0.5, 0.0125),
        ([(b"retry-after", b"9" * 13)], 0.5, 0.0125),
        ([(b"x-reset", b"900")], 0.5, 0.0125),
        ([], 0.5, 0.0125),
    ],
)
def test_answers_may_set_the_delay(fields: list[Field], drawn: float, seconds: float) -> None:
    assert delay(RESETS, answer(503, *fields), 1, drawn, 1000.0) == pytest.approx(seconds)


def test_without_an_answer_there_is_backoff() -> None:
    assert delay(RESETS, None, 1, 0.5, 1000.0) == pytest.approx(0.0125)


@pytest.mark.parametrize(
    ("own", "whole", "seconds"),
    [(None, 5.0, None), (1.0, None, 1.0), (1.0, 5.0, 1.0), (5.0, 5.0, None), (6.0, 5.0, None)],
)
def test_time_of_one_try(own: float | None, whole: float | None, seconds: float | None) -> None:
    assert per_try(RetryPolicy(frozenset(), per_try_timeout=own), whole) == seconds
