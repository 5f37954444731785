"""Pods' links: named, kept, replaced, and released with their namespace."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from bpf.errors import LinkError
from bpf.kernel import link_info, pinned, program_id
from bpf.links import (
    attach_host,
    attach_member,
    attach_pod,
    attached_members,
    attached_pods,
    detach_host,
    detach_member,
    detach_pod,
    member_path,
)
from bpf.loader import Action, load
from bpf.sources import CGROUP_PROGRAMS, HOST_PROGRAM
from tests.bpf.engine import SMALL, Engine, Place, eventually, place, removed
from tests.support.netns import Netns, netns

IDENTITY_PORT = 15088


@contextlib.contextmanager
def opened(path: Path) -> Iterator[int]:
    fd = os.open(path, os.O_RDONLY)
    try:
        yield fd
    finally:
        os.close(fd)


@pytest.fixture
def pod(mesh: Engine) -> Iterator[Netns]:
    """A namespace whose identity port is guarded as soon as it is attached."""
    with netns("127.0.0.1", "::1") as made:
        made.run(["ip", "addr", "add", "10.98.0.1/32", "dev", "lo"])
        mesh.workload("10.98.0.1", identity_port=IDENTITY_PORT)
        yield made


def guarded(pod: Netns) -> bool:
    with pod.listen("10.98.0.1", IDENTITY_PORT), pod.open_socket() as s:
        return s.connect_ex(("10.98.0.1", IDENTITY_PORT)) != 0


def test_a_pod_is_guarded_from_attach_to_detach(mesh: Engine, pod: Netns) -> None:
    pins = mesh.place.pin_dir
    others = attached_pods(pins)
    assert not guarded(pod)
    attach_pod(pins, "ns/some.pod-1", pod.fd)
    assert guarded(pod)
    assert attached_pods(pins) == others | {"ns/some.pod-1"}
    attach_pod(pins, "ns/some.pod-1", pod.fd)  # nothing changes
    assert guarded(pod)
    detach_pod(pins, "ns/some.pod-1")
    assert not guarded(pod)
    assert attached_pods(pins) == others
    detach_pod(pins, "ns/some.pod-1")


def test_a_pod_of_the_same_name_in_another_namespace(mesh: Engine, pod: Netns) -> None:
    pins = mesh.place.pin_dir
    with netns() as before:
        attach_pod(pins, "again", before.fd)
        attach_pod(pins, "again", pod.fd)
        assert guarded(pod)
    assert "again" in attached_pods(pins)
    detach_pod(pins, "again")


def test_links_of_dead_namespaces_are_released(mesh: Engine) -> None:
    pins = mesh.place.pin_dir
    with netns() as dying:
        attach_pod(pins, "dying", dying.fd)
        assert "dying" in attached_pods(pins)
    eventually(lambda: "dying" not in attached_pods(pins))
    assert not (pins / "links" / "pod_dying").exists()


def test_a_name_that_is_too_long_is_refused(mesh: Engine, pod: Netns) -> None:
    with pytest.raises(LinkError, match="too long"):
        attach_pod(mesh.place.pin_dir, "x" * 252, pod.fd)


def test_what_is_no_namespace_is_refused(mesh: Engine) -> None:
    with (mesh.place.cgroup / "cgroup.procs").open() as other, pytest.raises(LinkError):
        attach_pod(mesh.place.pin_dir, "wrong", other.fileno())
    assert "wrong" not in attached_pods(mesh.place.pin_dir)


def in_force(where: Place) -> bool:
    """Whether the links of the member and of the node's netns have today's programs."""
    number = next(iter(attached_members(where.pin_dir)))
    links = [(member_path(where.pin_dir, number, p), p.name) for p in CGROUP_PROGRAMS]
    links.append((where.pin_dir / "links" / HOST_PROGRAM.name, HOST_PROGRAM.name))
    for path, name in links:
        with pinned(path) as link, pinned(where.pin_dir / "progs" / name) as program:
            if link_info(link, name).program != program_id(program, name):
                return False
    return True


def test_members_and_the_nodes_own_netns_follow_a_swap_of_programs() -> None:
    with place("members") as where, netns() as home:
        load(where.pin_dir, where.cgroup, SMALL)
        member = where.cgroup.with_name(where.cgroup.name + "-member")
        member.mkdir()
        number = member.stat().st_ino
        with opened(member) as directory:
            attach_member(where.pin_dir, directory)
            attach_member(where.pin_dir, directory)  # again: nothing changes
        attach_host(where.pin_dir, home.fd)
        assert attached_members(where.pin_dir) == {number}
        assert in_force(where)
        (where.pin_dir / "progs" / "sockops").unlink()
        assert load(where.pin_dir, where.cgroup, SMALL).action is Action.SWAP
        assert in_force(where)
        detach_member(where.pin_dir, number)
        detach_host(where.pin_dir)
        assert attached_members(where.pin_dir) == set()
        eventually(lambda: removed(member))


def test_links_of_dead_cgroups_are_released() -> None:
    with place("dying") as where:
        load(where.pin_dir, where.cgroup, SMALL)
        member = where.cgroup.with_name(where.cgroup.name + "-member")
        member.mkdir()
        with opened(member) as directory:
            attach_member(where.pin_dir, directory)
        eventually(lambda: removed(member))
        eventually(lambda: attached_members(where.pin_dir) == set())
        assert not list((where.pin_dir / "links").glob("member_*"))
