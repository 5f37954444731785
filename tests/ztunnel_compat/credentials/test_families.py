from __future__ import annotations

import asyncio

from tests.ztunnel_compat.credentials.ca import CLIENT, WEB, issue, new_issuer
from ztunnel_compat.certificates import Certificate
from ztunnel_compat.credentials.families import collect
from ztunnel_compat.credentials.holder import Holder
from ztunnel_compat.errors import CertificateError, CertificateFailure
from ztunnel_compat.identity import Identity
from ztunnel_compat.runtime.tasks import Tasks


async def for_ever(_seconds: float) -> None:
    await asyncio.Event().wait()


async def test_states_and_results() -> None:
    issuer = new_issuer()

    async def fetch(identity: Identity) -> Certificate:
        if identity == CLIENT:
            raise CertificateError("no", CertificateFailure.REFUSED)
        return issue(issuer, identity)

    async with Tasks() as tasks:
        holder = Holder(fetch, tasks, sleep=for_ever)
        holder.hold(WEB)
        holder.hold(CLIENT)
        for identity in (WEB, CLIENT):
            await holder.held[identity].tried.wait()
        samples = {
            (sample.name, *sample.labels.values()): sample.value
            for family in collect(holder)
            for sample in family.samples
        }
    assert samples == {
        ("tandem_certificates", "initializing"): 0,
        ("tandem_certificates", "available"): 1,
        ("tandem_certificates", "unavailable"): 1,
        ("tandem_certificate_requests_total", "success"): 1,
        ("tandem_certificate_requests_total", "login"): 0,
        ("tandem_certificate_requests_total", "unreachable"): 0,
        ("tandem_certificate_requests_total", "refused"): 1,
        ("tandem_certificate_requests_total", "unusable"): 0,
    }
