"""Who is enrolled, and whose files are open for it."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from daemon.policies.enrolled import Enrolled, EnrolledPod
from daemon.policies.identities import Account

ACCOUNT = Account("app", "default")


@pytest.fixture
def netns() -> Iterator[int]:
    fd = os.open("/proc/self/ns/net", os.O_RDONLY)
    yield fd
    os.close(fd)


def test_a_workload_is_there_for_as_long_as_one_of_its_pods_or_members(netns: int) -> None:
    enrolled = Enrolled()
    enrolled.add("a", EnrolledPod("web", ACCOUNT, netns))
    enrolled.add("b", EnrolledPod("web", ACCOUNT, netns))
    enrolled.add_member("web")
    assert enrolled.workloads == {"web": 3}
    enrolled.remove("a")
    enrolled.remove("b")
    assert enrolled.remove("b") is None
    assert (set(enrolled.workloads), set(enrolled.members)) == ({"web"}, {"web"})
    enrolled.remove_member("web")
    assert (set(enrolled.workloads), set(enrolled.members)) == (set(), set())


def test_a_pod_that_is_enrolled_anew_counts_for_what_it_is_now(netns: int) -> None:
    enrolled = Enrolled()
    enrolled.add("a", EnrolledPod("web", ACCOUNT, netns))
    enrolled.add("a", EnrolledPod("api", ACCOUNT, netns))
    assert enrolled.workloads == {"api": 1}
    assert enrolled.accounts({"web", "api"}) == [("api", ACCOUNT)]
    enrolled.close()


def test_namespaces_are_the_callers_own_files(netns: int) -> None:
    enrolled = Enrolled()
    enrolled.add("a", EnrolledPod("web", ACCOUNT, netns))
    enrolled.add("b", EnrolledPod("api", ACCOUNT, netns))
    homes = enrolled.namespaces()
    [own] = enrolled.namespaces("api")
    enrolled.close()
    for fd in (*homes, own):
        assert os.fstat(fd).st_ino == os.fstat(netns).st_ino
        os.close(fd)
    assert len({*homes, own, netns}) == 4
    assert enrolled.namespaces() == []
