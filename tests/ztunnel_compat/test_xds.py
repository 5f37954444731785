"""Transcripts: what happened, and the request that must go out for it."""

from __future__ import annotations

import pytest

from ztunnel_compat.errors import XdsError
from ztunnel_compat.xds import (
    ADDRESS_TYPE,
    AUTHORIZATION_TYPE,
    MAX_REJECTIONS_TOLD,
    MEMBERS_TYPE,
    Answer,
    DeltaSession,
    Rejection,
    Request,
)

A, P = ADDRESS_TYPE, AUTHORIZATION_TYPE
OPEN = "a stream opens"


def got(type_url, nonce, accepted=None, rejected=(), removed=()):
    return Answer(type_url, nonce, accepted or {}, rejected, removed)


def first(type_url, **versions):
    return Request(type_url, initial_versions=versions)


def ack(type_url, nonce):
    return Request(type_url, nonce=nonce)


def nack(type_url, nonce, error):
    return Request(type_url, nonce=nonce, error=error)


BAD = Rejection("w2", "uid: missing")
WORSE = Rejection("w3", "status: 9")

TRANSCRIPTS = {
    "everything is subscribed to, and nothing known": [
        (OPEN, [first(A), first(P)]),
    ],
    "answers are acknowledged by nonce alone": [
        (OPEN, [first(A), first(P)]),
        (got(A, "n1", {"w1": "1"}), [ack(A, "n1")]),
        (got(P, "n2"), [ack(P, "n2")]),
        (got(A, "n3", {"w1": "2", "w2": "1"}), [ack(A, "n3")]),
    ],
    "a reconnect tells what is held": [
        (OPEN, [first(A), first(P)]),
        (got(A, "n1", {"w1": "1", "w2": "1"}), [ack(A, "n1")]),
        (got(A, "n2", {"w1": "2"}, removed=("w2", "unheard-of")), [ack(A, "n2")]),
        (OPEN, [first(A, w1="2"), first(P)]),
        (got(A, "n1"), [ack(A, "n1")]),
        (OPEN, [first(A, w1="2"), first(P)]),
    ],
    "what a reconnect misses goes only when the server says so": [
        (OPEN, [first(A), first(P)]),
        (got(A, "n1", {"w1": "1", "w2": "1"}), [ack(A, "n1")]),
        (OPEN, [first(A, w1="1", w2="1"), first(P)]),
        (got(A, "n1", {"w3": "1"}), [ack(A, "n1")]),
        (OPEN, [first(A, w1="1", w2="1", w3="1"), first(P)]),
        (got(A, "n1", removed=("w2",)), [ack(A, "n1")]),
        (OPEN, [first(A, w1="1", w3="1"), first(P)]),
    ],
    "policies have no versions, but their names are told": [
        (OPEN, [first(A), first(P)]),
        (got(P, "n1", {"ns/a": "", "ns/b": ""}), [ack(P, "n1")]),
        (OPEN, [first(A), Request(P, initial_versions={"ns/a": "", "ns/b": ""})]),
        (got(P, "n1", {"ns/a": ""}, removed=("ns/b",)), [ack(P, "n1")]),
        (OPEN, [first(A), Request(P, initial_versions={"ns/a": ""})]),
    ],
    "a rejected resource is named and not remembered": [
        (OPEN, [first(A), first(P)]),
        (got(A, "n1", {"w1": "1"}, [BAD]), [nack(A, "n1", "w2: uid: missing")]),
        (OPEN, [first(A, w1="1"), first(P)]),
        (
            got(A, "n1", {}, [BAD, WORSE]),
            [nack(A, "n1", "w2: uid: missing\nw3: status: 9")],
        ),
        (got(A, "n2", {"w2": "2"}), [ack(A, "n2")]),
        (OPEN, [first(A, w1="1", w2="2"), first(P)]),
    ],
    "a rejected policy's name is told, so that its removal is": [
        (OPEN, [first(A), first(P)]),
        (got(P, "n1", {"a": ""}, [BAD]), [nack(P, "n1", "w2: uid: missing")]),
        (OPEN, [first(A), first(P, a="", w2="")]),
        (got(P, "n1", removed=("w2",)), [ack(P, "n1")]),
        (OPEN, [first(A), first(P, a="")]),
    ],
    "a rejected update leaves the version in use, so its removal is still told": [
        (OPEN, [first(A), first(P)]),
        (got(A, "n1", {"w2": "1"}), [ack(A, "n1")]),
        (got(A, "n2", {}, [BAD]), [nack(A, "n2", "w2: uid: missing")]),
        (OPEN, [first(A, w2="1"), first(P)]),
        (got(A, "n1", removed=("w2",)), [ack(A, "n1")]),
        (OPEN, [first(A), first(P)]),
    ],
}


@pytest.mark.parametrize("transcript", TRANSCRIPTS.values(), ids=TRANSCRIPTS.keys())
def test_transcript(transcript):
    session = DeltaSession((A, P))
    for event, expected in transcript:
        sent = list(session.open()) if event is OPEN else [session.conclude(event)]
        assert sent == expected


@pytest.mark.parametrize(
    ("type_url", "nonce", "reason"),
    [
        ("type.googleapis.com/unheard.Of", "n1", "'type.googleapis.com/unheard.Of'"),
        ("", "n1", "type ''"),
        (A, "", "without a nonce"),
    ],
)
def test_what_breaks_the_protocol(type_url, nonce, reason):
    session = DeltaSession((A, P))
    session.open()
    with pytest.raises(XdsError, match=reason):
        session.check(type_url, nonce)
    with pytest.raises(XdsError, match=reason):
        session.conclude(got(type_url, nonce))


def test_complete_is_every_type_answered_and_none_rejected():
    session = DeltaSession((A, P))
    session.open()
    assert not session.complete
    session.conclude(got(A, "n1", {"w1": "1"}, [BAD]))
    assert not session.answered
    session.conclude(got(P, "n2"))
    assert (session.answered, session.complete) == (True, False)
    session.conclude(got(A, "n3", removed=("w2",)))
    assert session.complete
    session.open()
    assert not session.answered


def test_a_rejected_policy_does_not_keep_a_session_from_being_complete():
    session = DeltaSession((A, P))
    session.open()
    session.conclude(got(A, "n1", {"w1": "1"}))
    session.conclude(got(P, "n2", {}, [BAD]))
    assert session.complete


def test_what_is_held_and_what_is_rejected():
    session = DeltaSession((A, P))
    session.conclude(got(A, "n1", {"w1": "1"}, [BAD, WORSE]))
    assert session.held(A) == 1
    assert session.rejected(A) == {"w2": "uid: missing", "w3": "status: 9"}
    session.conclude(got(A, "n2", {"w2": "1"}, removed=("w3",)))
    assert session.held(A) == 2
    assert session.rejected(A) == {}
    assert (session.held(P), session.rejected(P)) == (0, {})


def test_a_nack_explains_so_many_and_counts_the_rest():
    session = DeltaSession((A,))
    rejected = [Rejection(f"w{n}", "bad") for n in range(MAX_REJECTIONS_TOLD + 5)]
    lines = session.conclude(got(A, "n1", {}, rejected)).error.splitlines()
    assert len(lines) == MAX_REJECTIONS_TOLD + 1
    assert lines[0] == "w0: bad"
    assert lines[-1] == "and 5 more"


def test_requests_keep_what_they_said():
    session = DeltaSession((A,))
    session.conclude(got(A, "n1", {"w1": "1"}))
    (request,) = session.open()
    session.conclude(got(A, "n2", {"w2": "1"}))
    assert request.initial_versions == {"w1": "1"}


def test_members_are_told_as_they_come_and_go():
    session = DeltaSession((A, P))
    assert session.tell_members(frozenset()) == Request(MEMBERS_TYPE)
    assert session.tell_members(frozenset()) is None
    assert session.tell_members(frozenset("ba")) == Request(MEMBERS_TYPE, subscribe=("a", "b"))
    assert session.tell_members(frozenset("bc")) == Request(
        MEMBERS_TYPE, subscribe=("c",), unsubscribe=("a",)
    )


def test_a_stream_begins_with_all_members_once_they_are_known():
    session = DeltaSession((A,))
    assert session.open() == (first(A),)
    session.tell_members(frozenset("ba"))
    assert session.open() == (first(A), Request(MEMBERS_TYPE, subscribe=("a", "b")))
    session.tell_members(frozenset())
    assert session.open() == (first(A), Request(MEMBERS_TYPE))
    assert session.tell_members(None) is None
    assert session.open() == (first(A),)
