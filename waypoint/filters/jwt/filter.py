"""The filter: what becomes of a request, by the tokens that it has."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from dataclasses import dataclass, field

from waypoint.filters.jwt.evaluate import PendingError, check
from waypoint.filters.jwt.settings import Override, Requirement, Settings
from waypoint.filters.jwt.slots import Slot
from waypoint.filters.jwt.status import Status
from waypoint.filters.jwt.work import Work
from waypoint.filters.verdicts import Asked, HeadVerdict, Later, Passed, Refusal
from waypoint.messages import Field, Request

#: Bytes of the path that a refusal names.
PATH_SHOWN = 256
ALLOWED, DENIED = "jwt_authn.allowed", "jwt_authn.denied"
PREFLIGHT = "jwt_authn.cors_preflight_bypassed"
UNFIT = "jwt_authn.claim_unfit_for_header"


@dataclass(frozen=True, slots=True, eq=False)
class JwtFilter:
    """Lets requests through that have the tokens they need; clock: Unix seconds."""

    name: str
    settings: Settings
    clock: Callable[[], float] = time.time
    slots: tuple[Slot, ...] = field(init=False, repr=False)
    clusters: tuple[str, ...] = field(init=False, repr=False)
    reads_connection: bool = field(init=False, repr=False)
    #: Tokens may be in a query, and what is asked for is told to who has none.
    reads_path: bool = True

    def __post_init__(self) -> None:
        slots = tuple(p.slot for p in self.settings.providers if p.slot.source is not None)
        object.__setattr__(self, "slots", slots)
        named = {slot.source.cluster for slot in slots if slot.source is not None}
        object.__setattr__(self, "clusters", tuple(sorted(named - {""})))
        reads = any(rule.match.source for rule in self.settings.rules)
        object.__setattr__(self, "reads_connection", reads)

    def decide(self, asked: Asked) -> HeadVerdict:
        """What becomes of a request."""
        request, settings = asked.request, self.settings
        if settings.bypass_preflight and is_preflight(request):
            return Passed(counts=(PREFLIGHT, ALLOWED))
        if isinstance(asked.override, Override):
            name = asked.override.requirement
            if name not in settings.named:
                return self.misnamed(name)
            requirement = settings.named[name]
        else:
            requirement = self.requirement(asked)
        if requirement is None:
            return Passed(counts=(ALLOWED,))
        work = Work(settings, request, self.clock())
        try:
            status = check(requirement, work)
        except PendingError:
            return Later(self.wait)
        if status is not Status.OK:
            return self.refusal(request, status, work)
        return Passed(
            request=work.changed(),
            notes=work.notes or None,
            reroute=work.rerouted,
            seconds=work.seconds,
            counts=(ALLOWED, UNFIT) if work.unfit else (ALLOWED,),
        )

    def requirement(self, asked: Asked) -> Requirement | None:
        """What the first rule that matches says."""
        request = asked.request
        path, _, query = request.path.partition(b"?")
        for rule in self.settings.rules:
            if rule.match.accepts(request, path, query, asked.source, 0.0, notes=asked.notes):
                return rule.requirement
        return None

    async def wait(self) -> None:
        """Until keys have come, or won't any more."""
        async with asyncio.TaskGroup() as group:
            for slot in self.slots:
                if slot.held.pending and slot.source is not None:
                    group.create_task(slot.held.wait(slot.source.timeout))

    def refusal(self, request: Request, status: Status, work: Work) -> Refusal:
        """The answer to who has no good token."""
        fields: tuple[Field, ...] = ()
        if not self.settings.strip:
            error = b"" if status is Status.MISSING else b', error="invalid_token"'
            realm = b'Bearer realm="%b"%b' % (address_of(request), error)
            fields = ((b"www-authenticate", realm),)
        return Refusal(
            status=403 if status is Status.AUDIENCE_NOT_ALLOWED else 401,
            body=b"" if self.settings.strip else status.text.encode(),
            details=details_of(status.text),
            fields=fields,
            seconds=work.seconds,
            counts=(DENIED,),
        )

    def misnamed(self, name: str) -> Refusal:
        """The answer where a route names a requirement that isn't there."""
        known = ",".join(sorted(self.settings.named))
        reason = f"Wrong requirement_name: {name}. It should be one of [{known}]"
        body = "" if self.settings.strip else f"Failed JWT authentication: {reason}"
        return Refusal(403, body.encode(), details_of(reason), counts=(DENIED,))


def is_preflight(request: Request) -> bool:
    """Whether a browser asks whether it may ask."""
    names = {name for name, value in request.fields if value}
    return request.method == b"OPTIONS" and names.issuperset(
        {b"origin", b"access-control-request-method"}
    )


def address_of(request: Request) -> bytes:
    """What was asked for, as it may stand between quotes."""
    shown = request.path[:PATH_SHOWN]
    address = b"%b://%b%b" % (request.scheme, request.authority, shown)
    return address.replace(b"\\", b"%5C").replace(b'"', b"%22")


def details_of(reason: str) -> str:
    """The access log's word for a refusal."""
    return f"jwt_authn_access_denied{{{'_'.join(reason.split())}}}"
