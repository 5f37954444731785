"""Asks the CA for certificates (istio.v1.auth.IstioCertificateService)."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

import grpc
import grpc.aio

from proto import ca_pb2, ca_pb2_grpc
from ztunnel_compat.certificates import Certificate, certificate_of
from ztunnel_compat.csr import make_csr, make_key
from ztunnel_compat.drivers.login import Login
from ztunnel_compat.errors import CertificateError, CertificateFailure, LoginError
from ztunnel_compat.identity import Identity

#: Seconds: what ztunnel asks for, and what it waits for an answer.
VALIDITY: Final = 24 * 3600
TIMEOUT: Final = 10.0
OPTIONS: Final = (
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
    ("grpc.max_receive_message_length", 4 << 20),
)
#: What isn't the CA's own word; all else is.
FAILURES: Final = {
    grpc.StatusCode.UNAVAILABLE: CertificateFailure.UNREACHABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED: CertificateFailure.UNREACHABLE,
}


class CaClient:
    """One request, one connection: they are hours apart, and each reads the token anew.

    agent: it asks in the name of others, as a node's agent may; istiod refuses whoever
    names an identity and is none, be it its own.
    """

    def __init__(
        self, server: Login, clock: Callable[[], float] = time.time, *, agent: bool = True
    ) -> None:
        self.server = server
        self.clock = clock
        self.agent = agent

    async def fetch(self, identity: Identity) -> Certificate:
        """A new certificate, of a new key, for an identity of ours.

        Raises CertificateError: the CA refuses, isn't there, or answers nonsense.
        """
        key = make_key()
        request = ca_pb2.IstioCertificateRequest(
            csr=make_csr(identity, key), validity_duration=VALIDITY
        )
        if self.agent:
            request.metadata.update({"ImpersonatedIdentity": str(identity)})
        try:
            metadata = await self.server.metadata()
            async with await self.server.channel(OPTIONS) as channel:
                stub = ca_pb2_grpc.IstioCertificateServiceStub(channel)
                answer = await stub.CreateCertificate(
                    request, metadata=metadata, timeout=TIMEOUT
                )
        except LoginError as error:
            raise CertificateError(str(error), CertificateFailure.LOGIN) from error
        except grpc.aio.AioRpcError as error:
            raise CertificateError(
                f"CA {self.server.target}: {error.code().name}: {error.details()}",
                FAILURES.get(error.code(), CertificateFailure.REFUSED),
            ) from error
        return certificate_of(answer.cert_chain, identity, key, self.clock())
