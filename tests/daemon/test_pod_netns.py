from __future__ import annotations

import os
from pathlib import Path

import pytest

from bpf.netns import in_netns, netns_cookie
from daemon.errors import EnrollError
from daemon.pod_netns import TW_REUSE, KernelPodNetns, link_name
from tests.daemon.process import NodePlaces
from tests.support.netns import netns as new_netns


def test_prepared_and_released(loaded: NodePlaces) -> None:
    kernel = KernelPodNetns(loaded.pin_dir)
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
    kernel = KernelPodNetns(loaded.pin_dir)
    with Path(os.devnull).open() as nothing, pytest.raises(EnrollError) as caught:
        kernel.prepare(nothing.fileno())
    assert "can't prepare the network namespace" in str(caught.value)
    assert kernel.attached() == set()


def test_without_programs(places: NodePlaces) -> None:
    with new_netns() as netns, pytest.raises(EnrollError):
        KernelPodNetns(places.pin_dir).prepare(netns.fd)


def test_link_names_can_be_pinned_and_read_back() -> None:
    assert link_name(4097) == "1001"
    assert int(link_name(1 << 63), 16) == 1 << 63
