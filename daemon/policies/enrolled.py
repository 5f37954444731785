"""Who is enrolled on this node, for as long as its connections are guarded.

The network namespace of an enrolled pod is held open, as ztunnel does, to look for
connections in it after a push: of a pod that is gone, the kernel keeps it until
enrolment says so.
"""

from __future__ import annotations

import os
from collections import Counter
from dataclasses import dataclass, replace

from daemon.policies.identities import Account


@dataclass(frozen=True, slots=True)
class EnrolledPod:
    """A pod whose inbound connections are guarded; netns: an open file of ours."""

    uid: str
    account: Account
    netns: int


class Enrolled:
    """Pods by enrolment's own key, members (cgroups), and both by workload (uid)."""

    def __init__(self) -> None:
        self.pods: dict[str, EnrolledPod] = {}
        self.members: Counter[str] = Counter()
        self.workloads: Counter[str] = Counter()

    def close(self) -> None:
        """Let go of the pods' network namespaces."""
        for pod in self.pods.values():
            os.close(pod.netns)
        self.pods.clear()

    def add(self, key: str, pod: EnrolledPod) -> None:
        """A pod is enrolled, or enrolled anew; its netns is copied."""
        self.remove(key)
        self.pods[key] = replace(pod, netns=os.dup(pod.netns))
        self.workloads[pod.uid] += 1

    def remove(self, key: str) -> EnrolledPod | None:
        """A pod is enrolled no longer; which it was."""
        pod = self.pods.pop(key, None)
        if pod is not None:
            os.close(pod.netns)
            drop(self.workloads, pod.uid)
        return pod

    def add_member(self, uid: str) -> None:
        """One more cgroup of a workload is a member."""
        self.members[uid] += 1
        self.workloads[uid] += 1

    def remove_member(self, uid: str) -> None:
        """One cgroup of a workload is no member any more."""
        drop(self.members, uid)
        drop(self.workloads, uid)

    def accounts(self, uids: set[str]) -> list[tuple[str, Account]]:
        """The accounts under which pods of these workloads run, each with its uid."""
        return [(pod.uid, pod.account) for pod in self.pods.values() if pod.uid in uids]

    def namespaces(self, uid: str | None = None) -> list[int]:
        """The network namespaces of a workload's pods, or of all; files of the caller's."""
        return [os.dup(pod.netns) for pod in self.pods.values() if uid in {None, pod.uid}]


def drop(counts: Counter[str], key: str) -> None:
    """Count one less; what is at 0 isn't there."""
    counts[key] -= 1
    if not counts[key]:
        del counts[key]
