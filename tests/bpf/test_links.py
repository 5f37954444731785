"""Pods' links: named, kept, replaced, and released with their namespace."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from bpf.errors import LinkError
from bpf.links import attach_pod, attached_pods, detach_pod
from tests.bpf.engine import Engine, eventually
from tests.support.netns import Netns, netns

IDENTITY_PORT = 15088


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
