from __future__ import annotations

import contextlib
import os
from pathlib import Path

import pytest

from bpf.knobs import Knobs
from bpf.layout import Pod
from bpf.links import Targets
from bpf.loader import Action, Plan, Stage, stage
from bpf.maps import Maps
from bpf.netns import in_netns, netns_cookie
from bpf.sources import MAPS
from daemon.errors import EnrollError
from daemon.pod_netns import TW_REUSE, KernelPodNetns, link_name
from tests.daemon.process import NodePlaces
from tests.support.netns import netns as new_netns


def in_force(places: NodePlaces) -> KernelPodNetns:
    plan = Plan(Action.ADOPT, frozenset(MAPS))
    return KernelPodNetns(places.pin_dir, Stage(places.pin_dir, Targets(places.cgroup), plan))


def test_prepared_and_released(loaded: NodePlaces) -> None:
    kernel = in_force(loaded)
    before = TW_REUSE.read_text()
    with new_netns() as netns:
        cookie = kernel.prepare(netns.fd)
        assert cookie == netns_cookie(netns.fd)
        assert kernel.attached() == {cookie}
        with in_netns(netns.fd):
            assert TW_REUSE.read_text().strip() == "1"
        assert TW_REUSE.read_text() == before
        assert kernel.prepare(netns.fd) == cookie
        kernel.release(cookie)
        assert kernel.attached() == set()
        kernel.release(cookie)


def test_a_file_that_is_no_netns(loaded: NodePlaces) -> None:
    kernel = in_force(loaded)
    with Path(os.devnull).open() as nothing, pytest.raises(EnrollError) as caught:
        kernel.prepare(nothing.fileno())
    assert "can't prepare the network namespace" in str(caught.value)
    assert kernel.attached() == set()


def test_without_programs(places: NodePlaces) -> None:
    with new_netns() as netns, pytest.raises(EnrollError):
        in_force(places).prepare(netns.fd)


def test_link_names_can_be_pinned_and_read_back() -> None:
    assert link_name(4097) == "1001"
    assert int(link_name(1 << 63), 16) == 1 << 63


def test_while_maps_are_written_only_pods_that_are_served_are_enrolled(
    loaded: NodePlaces,
) -> None:
    """Their links change with the others; new ones are refused, not left unguarded."""
    before = Maps.open(loaded.pin_dir)
    with contextlib.closing(before), new_netns() as known, new_netns() as new:
        in_force(loaded).prepare(known.fd)
        before.pods.put(known.cookie, Pod(workload=1))

        staged = stage(loaded.pin_dir, Targets(loaded.cgroup), Knobs(pods=7))
        kernel = KernelPodNetns(loaded.pin_dir, staged)
        assert kernel.prepare(known.fd) == known.cookie
        with pytest.raises(EnrollError, match="takes over from one with other maps"):
            kernel.prepare(new.fd)
        assert kernel.attached() == {known.cookie}

        kernel.release(known.cookie)
        assert before.pods.get(known.cookie) is None
        with pytest.raises(EnrollError, match="takes over"):
            kernel.prepare(known.fd)

        staged.commit()
        assert kernel.prepare(new.fd) == new.cookie
        assert kernel.attached() == {new.cookie}
