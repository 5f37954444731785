"""The faults that a VirtualService's HTTP rules inject."""

from __future__ import annotations

from deploy.standalone.control.manifests.durations import read_time
from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.routing import Fault

WHOLE = 1_000_000
#: gRPC's statuses, in their order from 0 on.
GRPC_STATUSES = (
    "OK", "CANCELLED", "UNKNOWN", "INVALID_ARGUMENT", "DEADLINE_EXCEEDED", "NOT_FOUND",
    "ALREADY_EXISTS", "PERMISSION_DENIED", "RESOURCE_EXHAUSTED", "FAILED_PRECONDITION",
    "ABORTED", "OUT_OF_RANGE", "UNIMPLEMENTED", "INTERNAL", "UNAVAILABLE", "DATA_LOSS",
    "UNAUTHENTICATED",
)  # fmt: skip
NO_DELAY = {"exponentialDelay": "give fixedDelay"}
NO_ABORT = {"http2Error": "give httpStatus or grpcStatus"}


def read_fault(fields: Fields) -> Fault | None:
    """Read ``fault``."""
    if fields.missing:
        return None
    delay, abort = fields.child("delay"), fields.child("abort")
    if delay.missing and abort.missing:
        fields.wrong("", "needs delay or abort")
    length, held = read_delay(delay)
    status, grpc, aborted = read_abort(abort)
    fields.end()
    return Fault(length, held, status, grpc, aborted)


def read_delay(fields: Fields) -> tuple[float, int]:
    """Read ``delay``: seconds, and the share of requests."""
    if fields.missing:
        return 0.0, 0
    fields.unsupported(NO_DELAY)
    length = read_time(fields, "fixedDelay") or 0.0
    if not length:
        fields.wrong("fixedDelay", "missing: say for how long requests are held")
    # Istio's older field, in whole percent.
    percent = fields.integer("percent", 0, 0, 100)
    share = read_share(fields, percent)
    fields.end()
    return length, share


def read_abort(fields: Fields) -> tuple[int, int | None, int]:
    """Read ``abort``: an HTTP or a gRPC status, and the share of requests."""
    if fields.missing:
        return 0, None, 0
    fields.unsupported(NO_ABORT)
    given = [name for name in ("httpStatus", "grpcStatus") if fields.has(name)]
    if len(given) != 1 and not fields.has("http2Error"):
        fields.wrong("", "give one of httpStatus, grpcStatus")
    status = fields.integer("httpStatus", 0, 200, 599)
    name = fields.text("grpcStatus")
    grpc = None
    if name in GRPC_STATUSES:
        grpc = GRPC_STATUSES.index(name)
    elif name:
        fields.wrong("grpcStatus", f"{name!r} is none of {', '.join(GRPC_STATUSES)}")
    share = read_share(fields)
    fields.end()
    return status, grpc, share


def read_share(fields: Fields, percent: int = 0) -> int:
    """Read ``percentage`` as a share of a million; percent: what was given instead."""
    inner = fields.child("percentage")
    share = round(inner.number("value", 0.0, 0, 100) * WHOLE / 100)
    inner.end()
    if inner.missing:
        share = percent * WHOLE // 100
    if inner.missing and not percent:
        fields.notice("percentage", "missing, so nothing is injected, as with Istio: give one")
    return share
