"""Who gets a certificate when, by a clock of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import grpc
import pytest

from tests.support.waiting import until
from tests.ztunnel_compat.ads_server import login, serving
from tests.ztunnel_compat.credentials.ca import CLIENT, WEB, handshake, issue, new_issuer
from ztunnel_compat.certificates import Certificate, verify_peer
from ztunnel_compat.credentials.holder import CONCURRENT, Holder, State
from ztunnel_compat.drivers.ca_client import CaClient
from ztunnel_compat.errors import CertificateError, CertificateFailure
from ztunnel_compat.identity import Identity
from ztunnel_compat.runtime.tasks import Tasks

ISSUER = new_issuer()
BEGIN = 1_800_000_000.0
LIFE = 1000


class World:
    """A CA that answers or doesn't, and time that passes when everybody sleeps.

    age: of the certificates that it gives, in seconds.
    """

    def __init__(self, tasks: Tasks) -> None:
        self.now = BEGIN
        self.refusal = ""
        self.age = 0.0
        self.asked: list[tuple[float, Identity]] = []
        self.active = 0
        self.most = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.sleepers: list[tuple[float, asyncio.Event]] = []
        self.holder = Holder(
            self.fetch, tasks, clock=lambda: self.now, sleep=self.sleep, draw=lambda: 0.5
        )

    async def fetch(self, identity: Identity) -> Certificate:
        self.asked.append((self.now - BEGIN, identity))
        self.active += 1
        self.most = max(self.most, self.active)
        await self.gate.wait()
        self.active -= 1
        if self.refusal:
            raise CertificateError(self.refusal)
        return issue(ISSUER, identity, now=self.now - self.age, seconds=LIFE)

    async def sleep(self, seconds: float) -> None:
        done = asyncio.Event()
        self.sleepers.append((self.now + seconds, done))
        await done.wait()

    async def settle(self) -> None:
        """Let everybody go on until they sleep."""
        await until(lambda: len(self.sleepers) == len(self.holder.held))

    async def until(self, seconds: float) -> None:
        """Pass time, to so many seconds after the beginning."""
        end = BEGIN + seconds
        while True:
            await self.settle()
            due = sorted(self.sleepers, key=lambda one: one[0])
            if not due or due[0][0] > end:
                break
            self.now = max(self.now, due[0][0])
            self.sleepers.remove(due[0])
            due[0][1].set()
        self.now = end

    @property
    def times(self) -> list[int]:
        return [round(moment) for moment, _ in self.asked]


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with Tasks() as tasks:
        yield World(tasks)


async def test_renewed_at_half_of_its_life(world: World) -> None:
    renewed: list[Identity] = []
    world.holder.followers.append(renewed.append)
    world.holder.hold(WEB)
    first = await world.holder.client_context(WEB)
    assert await world.holder.client_context(WEB) is first
    await world.until(470)
    assert world.times == [0]
    assert not renewed
    # Half of the life is 500 s; a tenth of that, half of it as drawn, earlier.
    await world.until(480)
    assert world.times == [0, 475]
    assert await world.holder.client_context(WEB) is not first
    assert renewed == [WEB]


async def test_the_old_one_holds_until_it_ends_and_then_nothing_does(
    world: World, caplog: pytest.LogCaptureFixture
) -> None:
    world.holder.hold(WEB)
    first = await world.holder.server_context(WEB)
    world.refusal = "the CA is away"
    await world.until(LIFE - 1)
    assert len(world.times) > 5
    assert max(b - a for a, b in zip(world.times[2:], world.times[3:], strict=False)) <= 150
    assert await world.holder.server_context(WEB) is first
    assert "not renewed: the CA is away; the old one holds until" in caplog.text
    assert "refused" not in caplog.text
    await world.until(LIFE)
    # Its end is the moment of an attempt, so that it is said at once.
    assert world.times[-1] == LIFE
    assert "its tunnels are refused" in caplog.text
    with pytest.raises(CertificateError, match=r"ended .* not be renewed: the CA is away"):
        await world.holder.server_context(WEB)
    assert world.holder.state(world.holder.held[WEB]) is State.UNAVAILABLE
    world.refusal = ""
    await world.until(LIFE + 400)
    assert await world.holder.server_context(WEB) is not first
    assert world.holder.state(world.holder.held[WEB]) is State.AVAILABLE


async def test_while_there_never_was_one_it_says_why_at_once(world: World) -> None:
    world.gate.clear()
    world.refusal = "not for you"
    world.holder.hold(WEB)
    assert world.holder.state(world.holder.held[WEB]) is State.INITIALIZING
    waiting = asyncio.ensure_future(world.holder.client_context(WEB))
    await until(lambda: world.active == 1)
    assert not waiting.done()
    world.gate.set()
    with pytest.raises(CertificateError, match=f"no certificate for {WEB}: not for you"):
        await waiting
    with pytest.raises(CertificateError, match="not for you"):
        await world.holder.client_context(WEB)
    with pytest.raises(CertificateError, match=f"no pod of ours is {CLIENT}"):
        await world.holder.client_context(CLIENT)


async def test_held_for_as_long_as_a_pod_has_it(world: World) -> None:
    for _ in range(2):
        world.holder.hold(WEB)
    world.holder.drop(WEB)
    await world.holder.client_context(WEB)
    assert world.times == [0]
    world.holder.drop(WEB)
    world.holder.drop(WEB)
    with pytest.raises(CertificateError, match="no pod of ours"):
        await world.holder.client_context(WEB)
    assert world.holder.dump() == []


async def test_who_waits_for_a_pod_that_leaves_waits_no_more(world: World) -> None:
    world.gate.clear()
    # The last of them waits for its turn.
    identities = [Identity("cluster.local", "apps", f"a{n}") for n in range(CONCURRENT + 1)]
    for identity in identities:
        world.holder.hold(identity)
    waiting = [asyncio.ensure_future(world.holder.client_context(i)) for i in identities]
    await until(lambda: world.active == CONCURRENT)
    for identity in identities:
        world.holder.drop(identity)
    for identity, one in zip(identities, waiting, strict=True):
        with pytest.raises(CertificateError, match=f"for {identity}: its pod has left"):
            await one


async def test_a_pod_that_comes_and_goes_at_once(world: World) -> None:
    world.holder.hold(WEB)
    waiting = asyncio.ensure_future(world.holder.client_context(WEB))
    await asyncio.sleep(0)
    world.holder.drop(WEB)
    world.holder.hold(WEB)
    with pytest.raises(CertificateError, match="its pod has left"):
        await waiting
    await world.holder.client_context(WEB)


async def test_old_certificates_are_not_asked_for_in_a_hurry(world: World) -> None:
    world.age = 0.9 * LIFE
    world.holder.hold(WEB)
    await world.holder.client_context(WEB)
    await world.until(100)
    assert world.times == [0, 30, 60, 90]
    world.age = 0.97 * LIFE
    await world.until(160)
    # What holds for 30 s more is renewed in half of them.
    assert world.times == [0, 30, 60, 90, 120, 135, 150]


async def test_few_requests_at_a_time(world: World) -> None:
    world.gate.clear()
    identities = [Identity("cluster.local", "apps", f"a{n}") for n in range(3 * CONCURRENT)]
    for identity in identities:
        world.holder.hold(identity)
    await until(lambda: world.active == CONCURRENT)
    world.gate.set()
    for identity in identities:
        await world.holder.client_context(identity)
    assert world.most == CONCURRENT


async def test_a_dump_has_no_key(world: World) -> None:
    world.holder.hold(WEB)
    await world.holder.client_context(WEB)
    [shown] = world.holder.dump()
    assert (shown["identity"], shown["state"], shown["pods"]) == (str(WEB), "Available", 1)
    leaf, _intermediate = shown["certChain"]
    assert leaf["validFrom"] == "2027-01-15T08:00:00Z"
    assert leaf["expirationTime"] == "2027-01-15T08:16:40Z"
    [root] = shown["rootCerts"]
    assert root["serialNumber"] == str(ISSUER.root.serial_number)
    assert "PRIVATE" not in str(world.holder.dump())
    assert "key" not in repr(world.holder.held[WEB].certificate)


async def test_from_a_ca_over_tls_to_a_handshake() -> None:
    async with serving() as server, Tasks() as tasks:
        holder = Holder(CaClient(login(server.port)).fetch, tasks)
        for identity in (WEB, CLIENT):
            holder.hold(identity)
        theirs = await holder.server_context(WEB)
        ours = await holder.client_context(CLIENT)
        assert sorted(identity for identity, _ in server.ca.asked) == [str(CLIENT), str(WEB)]
    server_shown, client_shown = await handshake(ours, theirs)
    assert verify_peer(server_shown, {"cluster.local"}, {WEB}) == WEB
    assert verify_peer(client_shown, {"cluster.local"}) == CLIENT


async def test_a_ca_that_refuses_is_asked_again() -> None:
    async with serving() as server, Tasks() as tasks:
        server.ca.refusal = (grpc.StatusCode.PERMISSION_DENIED, "no such pod here")
        naps: list[float] = []

        async def nap(seconds: float) -> None:
            naps.append(seconds)
            server.ca.refusal = None
            await asyncio.sleep(seconds)

        holder = Holder(CaClient(login(server.port)).fetch, tasks, sleep=nap, draw=lambda: 0.1)
        holder.hold(WEB)
        with pytest.raises(CertificateError, match="PERMISSION_DENIED: no such pod here"):
            await holder.client_context(WEB)
        await until(lambda: holder.issued == 1)
        assert 0 < naps[0] <= 0.05
        assert holder.failures == {CertificateFailure.REFUSED: 1}
        await holder.client_context(WEB)
