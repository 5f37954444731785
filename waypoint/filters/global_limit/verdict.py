"""What becomes of a request by what the rate limit service said: pure."""

from __future__ import annotations

import math

from waypoint.filters.global_limit.settings import Answer, Settings, Status
from waypoint.filters.verdicts import Passed, Refusal, Verdict
from waypoint.messages import Field, Request
from waypoint.routing.edits import edit_response, replaced
from waypoint.routing.templates import Facts

LIMITED, ERROR = "request_rate_limited", "rate_limiter_error"
RESOURCE_EXHAUSTED, UNAVAILABLE = 8, 14
MARK = (b"x-envoy-ratelimited", b"true")


def refused(answer: Answer, settings: Settings, request: Request, facts: Facts) -> Refusal:
    """The refusal of a request that is over a limit."""
    fields: tuple[Field, ...] = (MARK,) if settings.mark else ()
    fields += retry_after(answer.statuses) + answer.response
    fields = edit_response(fields, request, (settings.add,), facts)
    return Refusal(
        settings.status,
        answer.body,
        LIMITED,
        "RL",
        fields,
        grpc=RESOURCE_EXHAUSTED if settings.exhausted else UNAVAILABLE,
        counts=("ratelimit.over_limit",),
    )


def let_on(answer: Answer, request: Request, *, counted: str = "ratelimit.ok") -> Passed:
    """The request goes on, with what the service adds."""
    changed = None
    if answer.request:
        changed = request._replace(fields=replaced(request.fields, answer.request))
    return Passed(changed, answer.notes, counts=(counted,))


def failed(settings: Settings) -> Verdict:
    """What becomes of a request that nobody counted."""
    if settings.deny_on_failure:
        return Refusal(
            settings.status_on_error, b"", ERROR, "RLSE", counts=("ratelimit.error",)
        )
    return Passed(counts=("ratelimit.error", "ratelimit.failure_mode_allowed"))


def retry_after(statuses: tuple[Status, ...]) -> tuple[Field, ...]:
    """When to come again: once none of the limits is in the way."""
    waits = [status.reset for status in statuses if status.over and status.reset > 0]
    return ((b"retry-after", b"%d" % math.ceil(max(waits))),) if waits else ()


def limit_fields(statuses: tuple[Status, ...]) -> tuple[Field, ...]:
    """The x-ratelimit fields, third draft: of the limit that has the least left."""
    known = [status for status in statuses if status.limit is not None]
    if not known:
        return ()
    least = min(known, key=lambda status: status.remaining)
    policies = "".join(
        f", {status.limit};w={status.window}" + (f';name="{status.name}"' * bool(status.name))
        for status in known
        if status.window
    )
    return (
        (b"x-ratelimit-limit", f"{least.limit}{policies}".encode()),
        (b"x-ratelimit-remaining", b"%d" % least.remaining),
        (b"x-ratelimit-reset", b"%d" % int(least.reset)),
    )
