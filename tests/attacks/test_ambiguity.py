"""Where two proxies disagree about a message, the waypoint refuses it rather than guesses.

ambiguous.json lists what was seen; ``python -m tests.attacks.ambiguity`` writes it anew.
"""

from __future__ import annotations

import json

from tests.attacks.ambiguity import LIST, PROXIES, Found, ambiguous, read_all
from tests.attacks.corpus import requests, responses

TAB = "a tab is white space like a space (RFC 9110 section 5.6.3), but not to nginx"
TOKEN = "any token in upper case is a method, of which Envoy knows a list"
ESCAPES = "passed on for the endpoint to read, which policies do as the endpoint does"
REWRITTEN = (
    "told to the endpoint in origin form (RFC 9112 section 3.2.1), as by Envoy and nginx"
)
BEHIND = (
    "what follows is another request, with a method in lower case, which only HAProxy takes"
)
CLOSED = "without a length that we know it ends with the connection, for the client too"
INTERIM = "1xx goes on as it comes; what follows is no answer, and refused"
NORMAL = "made a normal path before policies are asked, as by Istio's Envoy"
#: What is passed on though somebody reads it differently, and why.
REQUESTS = {
    **dict.fromkeys(
        [
            "target '/=0=\"'",
            "target '/=0=%2e%2e/b'",
            "target '/=0=/../b'",
            "target '/=0=/./b'",
            "target '/=0=<b>'",
            "target '/=0=\\\\b'",
            "target '/=0=^b'",
            "target '/=0=`b'",
            "target '/=0={b}'",
            "target '/=0=|b'",
        ],
        NORMAL,
    ),
    "Content-Length: '\\t5'": TAB,
    "Transfer-Encoding: '\\tchunked'": TAB,
    "Transfer-Encoding: 'chunked\\t'": TAB,
    "Host: 'web\\t'": TAB,
    "Content-Length: '4294967301'": "more than nginx lets a body have by default",
    "Content-Length: '0'": BEHIND,
    "Content-Length: '00'": BEHIND,
    "target '/=0=%00'": ESCAPES,
    "target '/=0=%zz'": ESCAPES,
    "target '/=0=%'": ESCAPES,
    "target 'http://web/=0='": REWRITTEN,
    "target 'HTTP://web/=0='": REWRITTEN,
    "method 'FOO'": TOKEN,
    "method 'G-T'": TOKEN,
    "method 'G_T'": TOKEN,
    "method 'M-SEARCH'": TOKEN,
    f"method {'A' * 50!r}": TOKEN,
    "method 'TRACE'": "the endpoint's own affair; nginx answers it itself",
}


RESPONSES = {
    "line 'Content_Length: 5'": CLOSED,
    "line 'Transfer_Encoding: chunked'": CLOSED,
    "status line 'HTTP/1.1 204 OK'": "its length is left out (RFC 9110 section 8.6)",
    "status line 'HTTP/1.1 100 Go'": INTERIM,
    "status line 'HTTP/1.1 102 Go'": INTERIM,
    "status line 'HTTP/1.1 199 Go'": INTERIM,
}


async def read_well() -> tuple[Found, Found]:
    """What everybody reads. On a busy machine a proxy may take longer than we wait: what
    looks new then isn't there in another run.
    """
    for _ in range(3):
        asking, answering = await read_all()
        if guessed(asking) <= set(REQUESTS) and guessed(answering) <= set(RESPONSES):
            break
    return asking, answering


async def test_what_is_read_in_two_ways_is_refused() -> None:
    asking, answering = await read_well()
    assert asking["a sound one"] == dict.fromkeys(PROXIES, "GET '/=0=' of 'web'")
    assert answering["a sound one"] == dict.fromkeys(PROXIES, "200 'hello' and 200 'ok'")
    # Other versions of the others may agree where these don't.
    assert guessed(asking) <= set(REQUESTS)
    assert guessed(answering) <= set(RESPONSES)
    listed = json.loads(LIST.read_text())
    for found, was in ((asking, listed["requests"]), (answering, listed["responses"])):
        for name, readings in was.items():
            assert found[name]["waypoint"] == readings["waypoint"], name
    assert set(listed["requests"]) <= set(requests())
    assert set(listed["responses"]) <= set(responses())


def guessed(found: Found) -> set[str]:
    """What two disagree about, and the waypoint doesn't refuse."""
    seen = ambiguous(found)
    return {n for n, readings in seen.items() if readings["waypoint"] != "refuses"}
