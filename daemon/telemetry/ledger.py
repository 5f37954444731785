"""What was counted under each set of labels; no number in it ever goes back.

The kernel's sums come in as differences to what they were before. So a set of
labels that several keys share is their sum; a key whose labels change goes on
under the new ones and leaves to the old what they had; and a key may leave the
kernel's map without a trace in any number.

What open connections have moved so far is on top. When one closes, the kernel's
sums take over; were they a moment late, what was shown before stands.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import fields
from typing import Final

from bpf.layout import Traffic, TrafficKey
from daemon.telemetry.labels import NAMES
from ztunnel_compat.istio_labels import UNKNOWN, Labels

#: Sets of labels; what comes on top of them is counted as unknown.
MOST_ACCOUNTS: Final = 20_000
#: Seconds without a change, after which a key or an account may have to go.
IDLE_KEY: Final = 600
IDLE_ACCOUNT: Final = 3600
FIELDS: Final = tuple(field.name for field in fields(Traffic))

#: The labels of a key for the source's reporter and the destination's.
LabelsOf = Callable[[TrafficKey], tuple[Labels | None, Labels | None]]


class Account:
    """The sums of one set of labels.

    live_sent, live_received: of connections that are open; shown_*: the most that
    was told of bytes so far. flags: tunnels that failed, by Istio's response flag.
    """

    __slots__ = (
        *FIELDS,
        "changed",
        "flags",
        "live_received",
        "live_sent",
        "shown_received",
        "shown_sent",
    )

    def __init__(self) -> None:
        self.opened = self.closed = self.failed = self.denied = 0
        self.sent = self.received = 0
        self.latency = self.round_trip = self.retransmits = 0
        self.live_sent = self.live_received = 0
        self.shown_sent = self.shown_received = 0
        self.changed = 0.0
        self.flags: dict[str, int] = {}

    def add(self, difference: Traffic, now: float) -> None:
        """Count a difference in."""
        self.opened += difference.opened
        self.closed += difference.closed
        self.failed += difference.failed
        self.denied += difference.denied
        self.sent += difference.sent
        self.received += difference.received
        self.latency += difference.latency
        self.round_trip += difference.round_trip
        self.retransmits += difference.retransmits
        self.changed = now

    def began(self, nanoseconds: int, now: float) -> None:
        """Count a connection that came about, after so long."""
        self.opened += 1
        self.latency += nanoseconds
        self.changed = now

    def ended(self, now: float) -> None:
        """Count the end of one."""
        self.closed += 1
        self.changed = now

    def move(self, sent: int, received: int, now: float) -> None:
        """Count bytes."""
        self.sent += sent
        self.received += received
        self.changed = now

    def fail(self, flag: str, now: float) -> None:
        """Count a tunnel that didn't come about."""
        self.flags[flag] = self.flags.get(flag, 0) + 1
        self.changed = now

    def show(self) -> tuple[int, int]:
        """Bytes sent and received, those of open connections too."""
        self.shown_sent = max(self.shown_sent, self.sent + self.live_sent)
        self.shown_received = max(self.shown_received, self.received + self.live_received)
        return self.shown_sent, self.shown_received


class Ledger:
    """Accounts by their labels. labels_of may know more of a key each time."""

    def __init__(self, labels_of: LabelsOf, most: int = MOST_ACCOUNTS) -> None:
        self.labels_of = labels_of
        self.most = most
        self.accounts: dict[Labels, Account] = {}
        self.last: dict[TrafficKey, Traffic] = {}
        self.changed: dict[TrafficKey, float] = {}
        self.with_live: list[Account] = []
        self.overflows = 0

    def account(self, labels: Labels) -> Account:
        """The account of these labels; of none but the reporter, when there's no room."""
        found = self.accounts.get(labels)
        if found is None:
            if len(self.accounts) >= self.most:
                self.overflows += 1
                labels = (labels[0], *(UNKNOWN,) * (len(NAMES) - 1))
            found = self.accounts.setdefault(labels, Account())
        return found

    def count(self, key: TrafficKey, sums: Traffic, now: float) -> None:
        """Take in what a key's sums are now."""
        before = self.last.get(key)
        if before == sums:
            return
        self.last[key] = sums
        self.changed[key] = now
        grown = difference(sums, before)
        source, destination = self.labels_of(key)
        if source is not None:
            self.account(source).add(grown, now)
        if destination is not None:
            self.account(destination).add(grown, now)

    def live(self, moved: Iterable[tuple[TrafficKey, int, int]], now: float) -> None:
        """What open connections have sent and received so far, all of them."""
        for account in self.with_live:
            account.live_sent = account.live_received = 0
        self.with_live.clear()
        for key, sent, received in moved:
            for labels in self.labels_of(key):
                if labels is not None:
                    account = self.account(labels)
                    account.live_sent += sent
                    account.live_received += received
                    account.changed = now
                    self.with_live.append(account)

    def idle_keys(self, now: float) -> list[TrafficKey]:
        """Keys without an open connection that haven't changed for long."""
        return [
            key
            for key, sums in self.last.items()
            if sums.opened == sums.closed and now - self.changed[key] > IDLE_KEY
        ]

    def fold(self, key: TrafficKey, sums: Traffic, now: float) -> None:
        """A key left the kernel's map with these sums; it may begin again from 0."""
        self.count(key, sums, now)
        del self.last[key]
        del self.changed[key]

    def prune(self, now: float) -> int:
        """Drop accounts that haven't changed for long, if there are many; how many."""
        if len(self.accounts) <= self.most // 2:
            return 0
        idle = [
            labels
            for labels, account in self.accounts.items()
            if now - account.changed > IDLE_ACCOUNT
        ]
        for labels in idle:
            del self.accounts[labels]
        return len(idle)


def difference(now: Traffic, before: Traffic | None) -> Traffic:
    """How much sums have grown; all of them, where they began again from 0."""
    if before is None:
        return now
    grown = tuple(getattr(now, name) - getattr(before, name) for name in FIELDS)
    return now if min(grown) < 0 else Traffic(*grown)
