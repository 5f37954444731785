"""The filter that a host has, and the requests that it has under way."""

from __future__ import annotations

import traceback
from collections.abc import Callable
from typing import Any

from tandem.host.calls import (
    answer_of,
    call_body,
    call_request,
    call_response,
    read_request,
    request_changes,
    response_changes,
)
from tandem.host.loading import Loaded, load_entry_point, load_inline
from tandem.host.output import Output
from tandem.plugins.errors import FilterError
from tandem.plugins.filters import Direction, Filter
from tandem.plugins.headers import Headers
from tandem.plugins.messages import Request, Response

Said = dict[str, Any]
#: Characters of a traceback that are passed on: its end, which tells most.
MOST_TRACE = 4000


class Sessions:
    """Does what frames say. output: what filters print meanwhile."""

    def __init__(self, output: Output) -> None:
        self.output = output
        self.loaded: Loaded | None = None
        self.requests: dict[int, Request] = {}
        self.work: dict[str, Callable[[Said, bytes], tuple[Said, bytes]]] = {
            "load": self.load,
            "request": self.request,
            "response": self.response,
            "body": self.body,
        }

    def handle(self, said: Said, data: bytes) -> tuple[Said, bytes] | None:
        """The answer to a frame, None where there is none."""
        what = said["do"]
        if what == "end":
            self.requests.pop(said["session"], None)
            return None
        try:
            answer, data = self.work[what](said, data)
        except BaseException as error:  # noqa: BLE001 - SystemExit in a filter is one too
            answer, data = {"error": told(error)}, b""
        answer["id"] = said["id"]
        answer.update(self.output.take())
        return answer, data

    def load(self, said: Said, _data: bytes) -> tuple[Said, bytes]:
        """Load the filter."""
        config = said["config"]
        if said["code"]:
            loaded = load_inline(said["name"], said["code"], said["class"], config)
        else:
            loaded = load_entry_point(said["entry"], config)
        self.loaded = loaded
        return loaded.described(), b""

    def request(self, said: Said, data: bytes) -> tuple[Said, bytes]:
        """on_request."""
        request = self.request_of(said, data)
        response = call_request(self.filter, request)
        if response is None:
            return request_changes(request, said["request"]), b""
        answer = answer_of(response)
        self.requests.pop(said["session"], None)
        return answer, response.body

    def response(self, said: Said, _data: bytes) -> tuple[Said, bytes]:
        """on_response."""
        request = self.request_of(said, b"")
        response = Response(said["status"], Headers.received(said["headers"]))
        call_response(self.filter, request, response)
        return response_changes(response, said["status"]), b""

    def body(self, said: Said, data: bytes) -> tuple[Said, bytes]:
        """on_body."""
        request = self.request_of(said, b"")
        made = call_body(self.filter, request, data, Direction(said["of"]), last=said["last"])
        return ({"same": True}, b"") if made is None else ({}, made)

    @property
    def filter(self) -> Filter:
        """The one that is loaded."""
        if self.loaded is None:
            raise FilterError("no filter is loaded")
        return self.loaded.filter

    def request_of(self, said: Said, body: bytes) -> Request:
        """The request that a call is about: known from an earlier one, or as told now."""
        number = said["session"]
        request = self.requests.get(number)
        if request is None:
            request = read_request(said["request"], body)
            if said["keep"]:
                self.requests[number] = request
        return request


def told(error: BaseException) -> str:
    """A traceback that begins where the filter's code does."""
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame for frame in frames if not frame.filename.startswith(OWN)]
    shown = traceback.StackSummary.from_list(own).format()
    shown += traceback.format_exception_only(error)
    return "".join(shown)[-MOST_TRACE:]


#: This package's code, which tracebacks leave out.
OWN = __file__.rpartition("/")[0]
