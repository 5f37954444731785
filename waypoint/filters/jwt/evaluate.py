"""Whether a request has the tokens that it needs: Envoy's semantics.

All tokens at a provider's places must be good: what an endpoint might take for proven
is either proven or refused.
"""

from __future__ import annotations

import math

from waypoint.filters.jwt.places import Found
from waypoint.filters.jwt.settings import (
    AllOf,
    AllowFailed,
    AllowMissing,
    AnyOf,
    ByProvider,
    Provider,
    Requirement,
    bare_audience,
)
from waypoint.filters.jwt.status import Status
from waypoint.filters.jwt.token import Token, parse_token
from waypoint.filters.jwt.work import LONGEST, Work

#: Seconds that a verdict is remembered that is so only for want of keys.
WITHOUT_KEYS = 1.0


class PendingError(Exception):
    """Keys are on their way."""


def check(requirement: Requirement, work: Work) -> Status:
    """Whether a request fulfils a requirement. Raises PendingError while keys come."""
    match requirement:
        case ByProvider(provider, audiences):
            work.reserve(provider.reserved)
            return check_own(provider, audiences, work)
        case AnyOf():
            return check_any(requirement, work)
        case AllOf(requirements):
            for each in requirements:
                status = check(each, work)
                if status is not Status.OK:
                    return status
            return Status.OK
        case AllowMissing() | AllowFailed():
            work.reserve(work.settings.reserved)
            return check_everywhere(work, failed=isinstance(requirement, AllowFailed))


def check_any(requirement: AnyOf, work: Work) -> Status:
    """Whether one is fulfilled; else what is most to the point against it.

    That there is no token, or one of somebody else, tells less than what is wrong with
    one that is there.
    """
    final = Status.MISSING
    for each in requirement.requirements:
        status = check(each, work)
        if status is Status.OK:
            return status
        if status not in {Status.MISSING, Status.UNKNOWN_ISSUER} or final is Status.MISSING:
            final = status
    allowed = requirement.failed or (requirement.missing and final is Status.MISSING)
    return Status.OK if allowed else final


def check_own(provider: Provider, audiences: frozenset[str] | None, work: Work) -> Status:
    """Whether there are tokens of a provider, and all of them are good."""
    tokens = provider.found_at.find(work.fields, work.path)
    if not tokens:
        work.refuse(provider, Status.MISSING)
        return Status.MISSING
    for found in reversed(tokens):
        status = check_token(found, provider, audiences, work)
        if status is not Status.OK:
            return status
    return Status.OK


def check_everywhere(work: Work, *, failed: bool) -> Status:
    """Whether all tokens are good, whosever they are; failed: bad ones are let pass.

    Envoy lets bad ones pass too where the one that it looks at last is good.
    """
    final = Status.OK
    tokens = work.settings.everywhere.find(work.fields, work.path)
    if not tokens:
        work.refuse(None, Status.MISSING)
    for found in reversed(tokens):
        status = check_token(found, None, None, work)
        if status is not Status.OK:
            final = status
    return Status.OK if failed else final


def check_token(
    found: Found, provider: Provider | None, audiences: frozenset[str] | None, work: Work
) -> Status:
    """Whether a token is good; provider: whose it must be, None: its issuer's."""
    work.holds(LONGEST)
    token = recall(found.text, provider) or parse_token(found.text)
    if isinstance(token, Status):
        work.refuse(provider, token)
        return token
    if found.issuers is not None and token.issuer not in found.issuers:
        work.refuse(provider, Status.UNKNOWN_ISSUER)
        return Status.UNKNOWN_ISSUER
    provider = provider or work.settings.of_issuer(token.issuer)
    if provider is None:
        work.refuse(None, Status.UNKNOWN_ISSUER)
        return Status.UNKNOWN_ISSUER
    status = check_claims(token, provider, audiences, work)
    if status is Status.OK:
        status = check_signature(found.text, token, provider, work)
    if status is Status.OK:
        work.accept(found, provider, token)
    else:
        work.refuse(provider, status)
    return status


def recall(text: str, provider: Provider | None) -> Token | None:
    """A token that a provider's keys have verified before."""
    keys = provider.slot.held.keys if provider is not None else None
    return keys.recall(text) if keys is not None else None


def check_claims(
    token: Token, provider: Provider, audiences: frozenset[str] | None, work: Work
) -> Status:
    """Whether a token is for now, and for here."""
    now, skew = int(work.now), provider.skew
    if provider.subjects is not None and not provider.subjects.test(token.subject.encode()):
        return Status.VERIFICATION_FAILS
    if provider.lifetime is not None:
        if token.expires is None:
            return Status.VERIFICATION_FAILS
        if provider.lifetime < math.inf and token.expires - now >= provider.lifetime:
            work.holds(token.expires - provider.lifetime - work.now)
            return Status.VERIFICATION_FAILS
    if token.begins is not None and now + skew < token.begins:
        work.holds(token.begins - skew - work.now)
        return Status.NOT_YET_VALID
    if token.expires is not None:
        if now > token.expires + skew:
            return Status.EXPIRED
        work.holds(token.expires + skew + 1 - work.now)
    wanted = provider.audiences if audiences is None else audiences
    if wanted and wanted.isdisjoint(map(bare_audience, token.audiences)):
        return Status.AUDIENCE_NOT_ALLOWED
    return Status.OK


def check_signature(text: str, token: Token, provider: Provider, work: Work) -> Status:
    """Whether a provider's keys made a token's signature."""
    held = provider.slot.held
    if held.pending:
        raise PendingError
    if held.keys is None:
        work.holds(WITHOUT_KEYS)
        return Status.FETCH_FAILED
    if held.keys.recall(text) is not None:
        return Status.OK
    status = held.keys.verify(token)
    if status is Status.OK:
        held.keys.remember(text, token)
    return status
