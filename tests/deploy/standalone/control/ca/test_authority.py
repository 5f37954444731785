from __future__ import annotations

import asyncio
import ssl
from pathlib import Path

import pytest
from cryptography import x509

from deploy.standalone.control.ca.authority import Authority, CaSettings, server_names
from deploy.standalone.control.ca.certificates import make_key
from deploy.standalone.control.errors import RotationError
from ztunnel_compat.identity import Identity

WEB = Identity("cluster.local", "shop", "web")
DAY = 24 * 3600


class Clock:
    def __init__(self) -> None:
        self.now = 1_800_000_000.0

    def __call__(self) -> float:
        return self.now


async def opened(folder: Path, clock: Clock) -> Authority:
    settings = CaSettings(folder / "ca", folder / "roots.pem", "cluster.local", ("127.0.0.1",))
    return await Authority.open(settings, clock)


def certificates(text: str) -> list[x509.Certificate]:
    return x509.load_pem_x509_certificates(text.encode())


def trusts(roots: str, chain: tuple[str, ...], now: float) -> bool:
    """Whether who knows these roots takes a chain: each step by name and signature."""
    leaf, intermediate = (x509.load_pem_x509_certificate(t.encode()) for t in chain[:2])
    leaf.verify_directly_issued_by(intermediate)
    assert leaf.not_valid_before_utc.timestamp() <= now < leaf.not_valid_after_utc.timestamp()
    return any(
        root.subject == intermediate.issuer and not intermediate.verify_directly_issued_by(root)
        for root in certificates(roots)
    )


async def test_a_root_is_changed_and_nobody_is_cut_off(tmp_path: Path) -> None:
    """Holders renew at half of a day, each at another hour; all must trust all, always."""
    clock = Clock()
    authority = await opened(tmp_path, clock)
    holders: dict[int, tuple[str, ...]] = {}
    steps: list[str] = []
    begun = clock.now + 30 * 3600
    for hour in range(0, 6 * 24, 2):
        await authority.tend()
        if clock.now == begun:
            await authority.rotate()
        if hour % 14 == 6:  # another process adopts what is on disk, at any time
            authority = await opened(tmp_path, clock)
        step = authority.status()["step"]
        if steps[-1:] != [step]:
            steps.append(step)
        slot = hour % 12
        holders[slot] = await authority.issue(WEB, make_key().public_key(), DAY)
        assert (tmp_path / "roots.pem").read_text() == holders[slot][-1]
        for mine in holders.values():
            for theirs in holders.values():
                assert trusts(mine[-1], theirs, clock.now), f"hour {hour}, {step}"
        clock.now += 2 * 3600
    assert steps == ["stable", "published", "signing", "stable"]
    assert [len(certificates(chain[-1])) for chain in holders.values()] == [1] * 6
    assert sorted(p.name for p in (tmp_path / "ca").iterdir() if p.is_dir()) == ["2"]


async def test_both_roots_are_in_the_last_element(tmp_path: Path) -> None:
    authority = await opened(tmp_path, Clock())
    (old,) = certificates(authority.roots.decode())
    await authority.rotate()
    chain = await authority.issue(WEB, make_key().public_key(), 60)
    assert len(chain) == 3
    assert certificates(chain[-1])[0] == old
    assert len(certificates(chain[-1])) == 2
    with pytest.raises(RotationError, match="being changed already"):
        await authority.rotate()


async def test_two_who_rotate_at_once_get_one_root(tmp_path: Path) -> None:
    authority = await opened(tmp_path, Clock())
    found = await asyncio.gather(authority.rotate(), authority.rotate(), return_exceptions=True)
    assert [type(each) for each in found] == [type(None), RotationError]
    assert len(authority.status()["roots"]) == 2


async def test_the_servers_certificate_follows(tmp_path: Path) -> None:
    clock = Clock()
    authority = await opened(tmp_path, clock)
    first = authority.server
    await authority.tend()
    assert authority.server is first
    clock.now += 13 * 3600
    await authority.tend()
    second = authority.server
    assert second is not first
    await authority.rotate()
    assert authority.server is second, "the old root signs still"
    await authority.tend()
    assert authority.server is not second
    await authority.tend()
    assert authority.status()["step"] == "stable", "nothing was issued: nobody is waited for"
    assert authority.server.chain not in {first.chain, second.chain}


async def test_an_intermediate_is_renewed_at_half_of_its_life(tmp_path: Path) -> None:
    clock = Clock()
    authority = await opened(tmp_path, clock)
    before = authority.issuer
    clock.now += 183 * DAY
    await authority.tend()
    after = authority.issuer
    assert after.root == before.root
    assert after.intermediate != before.intermediate
    assert (await opened(tmp_path, clock)).issuer.intermediate == after.intermediate
    chain = await authority.issue(WEB, make_key().public_key(), DAY)
    assert trusts(authority.roots.decode(), chain, clock.now)


async def test_what_was_issued_is_on_disk_before_it_is_given(tmp_path: Path) -> None:
    clock = Clock()
    authority = await opened(tmp_path, clock)
    await asyncio.gather(
        *(
            authority.issue(WEB, make_key().public_key(), seconds)
            for seconds in range(10, 200, 10)
        )
    )
    again = await opened(tmp_path, clock)
    assert again.rotation.latest == clock.now + 190


async def test_roots_may_be_read_by_all(tmp_path: Path) -> None:
    authority = await opened(tmp_path, Clock())
    assert authority.settings.roots.stat().st_mode & 0o777 == 0o644
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(authority.settings.roots)


def test_the_servers_names() -> None:
    names = server_names("10.244.255.253:15012", "[::]:15012", "cluster.local")
    assert names == (
        "istiod.istio-system.svc",
        "istiod.istio-system.svc.cluster.local",
        "10.244.255.253",
    )
    assert server_names("[fd00::1]:1", "127.0.0.1:1", "x")[2:] == ("fd00::1", "127.0.0.1")
