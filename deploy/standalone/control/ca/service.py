"""``istio.v1.auth.IstioCertificateService``, as istiod serves it."""

from __future__ import annotations

import logging
from typing import Any

import grpc

from deploy.standalone.control.auth.guard import Guard
from deploy.standalone.control.auth.impersonation import identity_for
from deploy.standalone.control.ca.authority import Authority
from deploy.standalone.control.ca.csr import public_key_of
from deploy.standalone.control.errors import CallerError, RequestError, StateError
from proto import ca_pb2, ca_pb2_grpc

logger = logging.getLogger(__name__)

#: Seconds that a certificate holds: when nothing is asked for, and at most.
VALIDITY = 24 * 3600
IMPERSONATED = "ImpersonatedIdentity"


class CertificateService(ca_pb2_grpc.IstioCertificateServiceServicer):
    """Signs for who proves to be who it is, or to be the agent of its node."""

    def __init__(self, authority: Authority, guard: Guard) -> None:
        self.authority = authority
        self.guard = guard

    async def CreateCertificate(  # noqa: N802 - gRPC's name
        self, request: ca_pb2.IstioCertificateRequest, context: Any
    ) -> ca_pb2.IstioCertificateResponse:
        """A chain for the request's key: leaf, intermediate, roots."""
        caller = await self.guard.admit(context)
        try:
            identity = identity_for(
                caller,
                impersonated(request),
                self.authority.settings.trust_domain,
                self.guard.engine.view,
            )
            key = public_key_of(request.csr)
            seconds = validity(request.validity_duration)
        except CallerError as error:
            await self.guard.refuse(context, error)
        try:
            chain = await self.authority.issue(identity, key, seconds)
        except StateError as error:
            logger.error("no certificate for %s: %s", identity, error)
            await context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        logger.info("certificate for %s, %d s, asked by %s", identity, seconds, caller)
        return ca_pb2.IstioCertificateResponse(cert_chain=chain)


def impersonated(request: ca_pb2.IstioCertificateRequest) -> str:
    """The identity that is asked for in another's name; empty without one."""
    if IMPERSONATED not in request.metadata.fields:
        return ""
    value = request.metadata.fields[IMPERSONATED]
    if not value.string_value:
        raise RequestError(f"metadata: {IMPERSONATED} is no text, or empty")
    return value.string_value


def validity(asked: int) -> int:
    """How long a certificate shall hold, in seconds; raises RequestError."""
    if asked == 0:
        return VALIDITY
    if not 0 < asked <= VALIDITY:
        raise RequestError(f"validity_duration: {asked} s: from 1 s to {VALIDITY} s")
    return asked
