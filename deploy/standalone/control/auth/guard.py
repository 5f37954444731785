"""Lets clients in whose token is good, and tells the others why not."""

from __future__ import annotations

from typing import Any, NoReturn

import grpc

from deploy.standalone.control.ads.gate import Gate
from deploy.standalone.control.auth.places import (
    Caller,
    NodeAddresses,
    address_of,
    check_place,
    is_agent,
)
from deploy.standalone.control.auth.refusals import Refusals
from deploy.standalone.control.auth.tokens import Tokens
from deploy.standalone.control.engine import Engine
from deploy.standalone.control.errors import (
    CallerError,
    ForbiddenError,
    RequestError,
    UnauthenticatedError,
)

HEADER = "authorization"
SCHEME = "Bearer "
CODES = (
    (UnauthenticatedError, grpc.StatusCode.UNAUTHENTICATED),
    (ForbiddenError, grpc.StatusCode.PERMISSION_DENIED),
    (RequestError, grpc.StatusCode.INVALID_ARGUMENT),
)


class Guard:
    """Stands before every service of port 15012."""

    def __init__(
        self, tokens: Tokens, engine: Engine, gate: Gate, nodes: NodeAddresses
    ) -> None:
        self.tokens = tokens
        self.engine = engine
        self.gate = gate
        self.nodes = nodes
        self.refusals = Refusals()

    async def admit(self, context: Any) -> Caller:
        """The caller; ends the call with UNAUTHENTICATED when there is no proof of it."""
        try:
            return await self.identify(context)
        except CallerError as error:
            await self.refuse(context, error)

    async def identify(self, context: Any) -> Caller:
        """The caller; raises UnauthenticatedError."""
        claims = self.tokens.verify(bearer(context.invocation_metadata()))
        if not is_agent(claims):
            # A process that has just started doesn't know the pods' addresses yet.
            await self.gate.opened.wait()
        return check_place(
            claims,
            address_of(context.peer()),
            self.nodes,
            self.engine.view,
            self.engine.statuses,
        )

    async def refuse(self, context: Any, error: CallerError) -> NoReturn:
        """End a call, telling why."""
        self.refusals.note(context.peer(), error)
        code = next(code for kind, code in CODES if isinstance(error, kind))
        await context.abort(code, str(error))
        raise error


def bearer(metadata: Any) -> str:
    """The token among a call's headers; raises UnauthenticatedError."""
    for key, value in metadata or ():
        if key == HEADER and isinstance(value, str) and value.startswith(SCHEME):
            return value.removeprefix(SCHEME).strip()
    raise UnauthenticatedError(f"no token: send it as '{HEADER}: {SCHEME}<token>'")
