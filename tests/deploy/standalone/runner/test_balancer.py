"""nftables kept in step, in a netns of the test's own."""

from __future__ import annotations

import asyncio
import subprocess

import pytest

from deploy.standalone.config import MeshConfig
from deploy.standalone.runner import balancer as module
from deploy.standalone.runner.balancer import Balancer
from deploy.standalone.runner.errors import BalancerError
from deploy.standalone.runner.spec import EndpointView, ServicePortView, ServiceView
from ztunnel_compat.runtime.tasks import Tasks


class Config(MeshConfig):
    netns = ""

    def node_netns(self, node: str) -> str:
        return self.netns


@pytest.fixture
def config(netns_name: str) -> MeshConfig:
    Config.netns = netns_name
    return Config()


def services(*endpoints: str) -> tuple[ServiceView, ...]:
    return (
        ServiceView(
            "default",
            "web",
            "web.default.svc.cluster.local",
            vips=("10.96.1.2",),
            ports=(ServicePortView("http", 80), ServicePortView("dns", 53, "UDP")),
            endpoints=tuple(
                EndpointView(ip, (ip,), True, {80: 8080, 53: 5353}) for ip in endpoints
            ),
        ),
    )


async def rules(balancer: Balancer) -> str:
    command = ["nft", "list", "ruleset"]
    return str(await balancer.thread.call(subprocess.getoutput, " ".join(command)))


async def test_changes_are_in_force_once_settled(config: MeshConfig) -> None:
    balancer = Balancer(config, "node1")
    async with Tasks() as tasks, asyncio.timeout(20):
        tasks.spawn(balancer.run(), "balancer")
        await balancer.update(services("10.244.1.2", "10.244.1.3"))
        await balancer.settled()
        assert "10.244.1.3 . 8080" in await rules(balancer)
        await balancer.update(services("10.244.1.2"))
        await balancer.settled()
        assert "10.244.1.3" not in await rules(balancer)
        await balancer.update(())
        await balancer.settled()
        text = await rules(balancer)
        assert "goto" not in text.partition("chain services")[0]
        assert "reject with tcp reset" in text
    balancer.close()


async def test_many_changes_are_one_or_two_runs(
    config: MeshConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    runs: list[str] = []
    monkeypatch.setattr(module, "apply", runs.append)
    balancer = Balancer(config, "node1")
    async with Tasks() as tasks, asyncio.timeout(20):
        tasks.spawn(balancer.run(), "balancer")
        for number in range(100):
            await balancer.update(services(f"10.244.1.{number + 2}"))
        await balancer.settled()
    balancer.close()
    assert len(runs) <= 2
    assert "10.244.1.101" in runs[-1]


async def test_a_refusal_keeps_the_old_rules_and_is_tried_again(
    config: MeshConfig, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "RETRY", 0.01)
    balancer = Balancer(config, "node1")
    real, broken = module.apply, [True]

    def apply(text: str) -> None:
        real("nonsense" if broken and "10.244.1.3" in text else text)

    monkeypatch.setattr(module, "apply", apply)
    async with Tasks() as tasks, asyncio.timeout(20):
        tasks.spawn(balancer.run(), "balancer")
        await balancer.update(services("10.244.1.2"))
        await balancer.settled()
        await balancer.update(services("10.244.1.3"))
        await asyncio.sleep(0.05)
        assert balancer.applied < balancer.wanted
        assert "10.244.1.2 " in await rules(balancer)
        broken.clear()
        await balancer.settled()
        assert "10.244.1.3 " in await rules(balancer)
    balancer.close()


async def test_errors_are_nfts_own(config: MeshConfig) -> None:
    balancer = Balancer(config, "node1")
    with pytest.raises(BalancerError, match="syntax error"):
        await balancer.thread.call(module.apply, "nonsense")
    balancer.close()
