"""The one owner of the mesh's roots: issues, rotates, renews its own."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric.types import CertificatePublicKeyTypes

from deploy.standalone.control.ca.certificates import (
    Issuer,
    half_life,
    make_intermediate,
    make_issuer,
    make_leaf,
    make_server,
    pem,
)
from deploy.standalone.control.ca.rotation import Step
from deploy.standalone.control.ca.store import CaStore, Held
from deploy.standalone.control.errors import StateError
from ztunnel_compat.identity import Identity

logger = logging.getLogger(__name__)

#: Seconds between two looks at the clock for what is due.
TICK = 30.0


@dataclass(frozen=True, slots=True)
class CaSettings:
    """folder: the keys; roots: the file of trusted roots that everybody may read;
    server_names: DNS names and addresses of port 15012, the certificate's first name first.
    """

    folder: Path
    roots: Path
    trust_domain: str
    server_names: tuple[str, ...]


class Authority:
    """A mesh's certificate authority. clock: Unix seconds."""

    def __init__(
        self, settings: CaSettings, store: CaStore, held: Held, clock: Callable[[], float]
    ) -> None:
        self.settings = settings
        self.store = store
        self.clock = clock
        self.rotation = held.rotation
        self.saved = held.rotation
        self.published = b""
        self.issuers = dict(held.issuers)
        self.token_key = held.token_key
        self.saving = asyncio.Lock()
        self.changing = asyncio.Lock()
        self.wake = asyncio.Event()
        self.server = make_server(self.issuer, settings.server_names, clock())

    @classmethod
    async def open(
        cls, settings: CaSettings, clock: Callable[[], float] = time.time
    ) -> Authority:
        """Adopt what is on disk, make it at the first start, and publish the roots.

        Raises CaError for a file that can't be used, StateError.
        """
        store = CaStore(settings.folder)
        now = clock()
        make = partial(make_issuer, settings.trust_domain, now)
        held = await asyncio.to_thread(store.open, make, now)
        authority = cls(settings, store, held, clock)
        await authority.publish()
        return authority

    # ---- what it has

    @property
    def issuer(self) -> Issuer:
        """Whoever signs now."""
        return self.issuers[self.rotation.signing]

    @property
    def roots(self) -> bytes:
        """All trusted roots in PEM, one after the other."""
        return b"".join(pem(self.issuers[number].root) for number in self.rotation.trusted)

    def status(self) -> dict[str, Any]:
        """The roots and where their change is, JSON-able."""
        rotation = self.rotation
        due = "" if rotation.step is Step.STABLE else stamp(max(rotation.due, self.clock()))
        return {
            "trust_domain": self.settings.trust_domain,
            "step": str(rotation.step),
            "next_step_after": due,
            "roots": [
                {
                    "fingerprint": fingerprint(self.issuers[number]),
                    "signing": number == rotation.signing,
                    "ends": stamp(self.issuers[number].root.not_valid_after_utc.timestamp()),
                }
                for number in rotation.trusted
            ],
        }

    # ---- what it does

    async def issue(
        self, identity: Identity, public_key: CertificatePublicKeyTypes, seconds: int
    ) -> tuple[str, ...]:
        """A chain for an identity: leaf, intermediate, then the trusted roots as one.

        Raises StateError: a certificate that a restart wouldn't know of is not given.
        """
        issuer, roots = self.issuer, self.roots
        leaf = make_leaf(issuer, identity, public_key, self.clock(), seconds)
        self.rotation = self.rotation.issued(int(leaf.not_valid_after_utc.timestamp()))
        await self.save()
        return pem(leaf).decode(), pem(issuer.intermediate).decode(), roots.decode()

    async def rotate(self) -> None:
        """Begin to change the root; raises RotationError, StateError."""
        async with self.changing:
            rotation = self.rotation.begin()
            number = rotation.trusted[-1]
            issuer = await asyncio.to_thread(
                make_issuer, self.settings.trust_domain, self.clock()
            )
            await asyncio.to_thread(self.store.add_issuer, number, issuer)
            self.issuers[number] = issuer
            # Begun again: meanwhile certificates may have been issued.
            self.rotation = self.rotation.begin()
            await self.settle()
        logger.info(
            "a new root is published beside the old one, and signs after %s",
            self.status()["next_step_after"],
        )
        self.wake.set()

    async def run(self) -> None:
        """Do what becomes due, for ever."""
        while True:
            try:
                await self.tend()
            except StateError as error:
                logger.error("%s; it is tried again", error)
            self.wake.clear()
            try:
                async with asyncio.timeout(TICK):
                    await self.wake.wait()
            except TimeoutError:
                pass

    async def tend(self) -> None:
        """Do what is due now; raises StateError."""
        async with self.changing:
            await self.renew_intermediate()
            before, self.rotation = self.rotation, self.rotation.advance(self.clock())
            if before.step is not self.rotation.step:
                logger.info("change of the root: %s, now %s", before.step, self.rotation.step)
                self.renew_server()
            elif self.clock() >= self.server.renew:
                self.renew_server()
            await self.settle()

    async def renew_intermediate(self) -> None:
        """Replace the signing intermediate at half of its life; raises StateError."""
        number, issuer = self.rotation.signing, self.issuer
        if self.clock() < half_life(issuer.intermediate):
            return
        certificate, key = await asyncio.to_thread(
            make_intermediate, issuer.root, issuer.root_key, self.clock()
        )
        renewed = replace(issuer, intermediate=certificate, intermediate_key=key)
        await asyncio.to_thread(self.store.replace_intermediate, number, renewed)
        self.issuers[number] = renewed
        self.renew_server()

    def renew_server(self) -> None:
        """Make another certificate for port 15012."""
        self.server = make_server(self.issuer, self.settings.server_names, self.clock())

    async def settle(self) -> None:
        """Bring the disk in step with the rotation; raises StateError."""
        await self.save()
        await self.publish()
        retired = self.issuers.keys() - set(self.rotation.trusted)
        if retired:
            await asyncio.to_thread(self.store.sweep, self.rotation)
        for number in retired:
            del self.issuers[number]

    async def save(self) -> None:
        """Keep the rotation; raises StateError."""
        async with self.saving:
            rotation = self.rotation
            if rotation != self.saved:
                await asyncio.to_thread(self.store.save_rotation, rotation)
                self.saved = rotation

    async def publish(self) -> None:
        """Write the trusted roots for everybody; raises StateError."""
        roots = self.roots
        if roots != self.published:
            await asyncio.to_thread(self.store.publish, self.settings.roots, roots)
            self.published = roots


def fingerprint(issuer: Issuer) -> str:
    """The SHA-256 of a root, as openssl prints it."""
    digest = issuer.root.fingerprint(hashes.SHA256())
    return ":".join(f"{byte:02X}" for byte in digest)


def stamp(seconds: float) -> str:
    """A moment as text."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def server_names(xds_address: str, listen: str, cluster_domain: str) -> tuple[str, ...]:
    """What port 15012 is called: istiod's names, and the addresses it is reached at."""
    names = ["istiod.istio-system.svc", f"istiod.istio-system.svc.{cluster_domain}"]
    for place in (xds_address, listen):
        host = place.rpartition(":")[0].strip("[]")
        if host and host not in {"::", "0.0.0.0", *names}:
            names.append(host)
    return tuple(names)
