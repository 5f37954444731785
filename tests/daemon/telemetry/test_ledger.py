from __future__ import annotations

from dataclasses import replace

from bpf.layout import Traffic, TrafficKey
from daemon.telemetry.labels import NAMES
from daemon.telemetry.ledger import IDLE_ACCOUNT, IDLE_KEY, Account, Ledger, difference
from ztunnel_compat.istio_labels import Labels

A, B = TrafficKey(1, 1, 1), TrafficKey(2, 2, 2)
ONE = Traffic(
    opened=1, closed=1, sent=10, received=20, latency=30, round_trip=40, retransmits=50
)


def labels(reporter: str, name: str) -> Labels:
    return (reporter, name, *("",) * (len(NAMES) - 2))


class Naming:
    """Every key has the same labels, until told otherwise."""

    def __init__(self) -> None:
        self.name = "web"

    def __call__(self, key: TrafficKey) -> tuple[Labels | None, Labels | None]:
        return labels("source", self.name), labels("destination", self.name)


def scaled(times: int) -> Traffic:
    return Traffic(*(times * getattr(ONE, name) for name in Account.__slots__[:9]))


def test_both_reporters_have_all_sums() -> None:
    ledger = Ledger(Naming())
    ledger.count(A, replace(ONE, failed=2, denied=3), 0)
    for reporter in ("source", "destination"):
        account = ledger.accounts[labels(reporter, "web")]
        assert (account.opened, account.closed, account.failed, account.denied) == (1, 1, 2, 3)
        assert (account.latency, account.round_trip, account.retransmits) == (30, 40, 50)
        assert account.show() == (10, 20)


def test_keys_of_the_same_labels_are_one_sum() -> None:
    """Two pods of a deployment."""
    ledger = Ledger(Naming())
    ledger.count(A, ONE, 0)
    ledger.count(B, scaled(4), 0)
    ledger.count(A, scaled(2), 1)
    assert ledger.accounts[labels("source", "web")].show() == (60, 120)


def test_a_key_with_new_labels_leaves_the_old_ones_what_they_had() -> None:
    naming = Naming()
    ledger = Ledger(naming)
    ledger.count(A, scaled(5), 0)
    naming.name = "web-v2"
    ledger.count(A, scaled(7), 1)
    assert ledger.accounts[labels("source", "web")].opened == 5
    assert ledger.accounts[labels("source", "web-v2")].opened == 2


def test_sums_that_began_again_are_added() -> None:
    ledger = Ledger(Naming())
    ledger.count(A, scaled(5), 0)
    ledger.count(A, scaled(2), 1)
    assert ledger.accounts[labels("source", "web")].opened == 7


def test_64_bits() -> None:
    ledger = Ledger(Naming())
    ledger.count(A, Traffic(sent=(1 << 64) - 1), 0)
    assert ledger.accounts[labels("source", "web")].show()[0] == (1 << 64) - 1


def test_open_connections_are_on_top_and_counted_once() -> None:
    ledger = Ledger(Naming())
    account = ledger.account(labels("source", "web"))
    ledger.count(A, Traffic(opened=2), 0)
    ledger.live([(A, 100, 1000), (A, 5, 6)], 0)
    assert account.show() == (105, 1006)
    ledger.live([(A, 150, 1500), (A, 5, 6)], 1)
    assert account.show() == (155, 1506)
    # The first closes: its bytes are the kernel's.
    ledger.count(A, Traffic(opened=2, closed=1, sent=160, received=1600), 2)
    ledger.live([(A, 5, 6)], 2)
    assert account.show() == (165, 1606)


def test_what_was_shown_never_goes_back() -> None:
    """A connection that closed between two looks is in neither for a moment."""
    ledger = Ledger(Naming())
    account = ledger.account(labels("source", "web"))
    ledger.count(A, Traffic(opened=1), 0)
    ledger.live([(A, 100, 1000)], 0)
    assert account.show() == (100, 1000)
    ledger.live([], 1)
    assert account.show() == (100, 1000)
    ledger.count(A, Traffic(opened=1, closed=1, sent=110, received=1100), 2)
    assert account.show() == (110, 1100)


def test_a_folded_key_stays_in_the_sums() -> None:
    ledger = Ledger(Naming())
    ledger.count(A, scaled(5), 0)
    assert ledger.idle_keys(IDLE_KEY) == []
    assert ledger.idle_keys(IDLE_KEY + 1) == [A]
    ledger.fold(A, scaled(6), IDLE_KEY + 1)
    assert ledger.last == {}
    ledger.count(A, scaled(1), IDLE_KEY + 2)
    assert ledger.accounts[labels("source", "web")].opened == 7


def test_a_key_with_an_open_connection_is_not_idle() -> None:
    ledger = Ledger(Naming())
    ledger.count(A, Traffic(opened=1), 0)
    assert ledger.idle_keys(10 * IDLE_KEY) == []


def test_accounts_are_bounded_and_the_rest_is_unknown() -> None:
    naming = Naming()
    ledger = Ledger(naming, most=4)
    for number in range(5):
        naming.name = f"w{number}"
        ledger.count(TrafficKey(number + 1), ONE, number)
    assert len(ledger.accounts) == 4 + 2
    unknown = ("source", *("unknown",) * (len(NAMES) - 1))
    assert ledger.accounts[unknown].opened == 3
    assert sum(a.opened for a in ledger.accounts.values()) == 10
    assert ledger.overflows > 0


def test_accounts_that_nobody_uses_go_when_there_are_many() -> None:
    naming = Naming()
    ledger = Ledger(naming, most=8)
    ledger.count(A, ONE, 0)
    assert ledger.prune(2 * IDLE_ACCOUNT) == 0
    for number in range(2):
        naming.name = f"w{number}"
        ledger.count(TrafficKey(number + 1), scaled(2), IDLE_ACCOUNT)
    assert ledger.prune(IDLE_ACCOUNT + 1) == 2
    assert labels("source", "web") not in ledger.accounts


def test_difference_is_field_by_field() -> None:
    assert difference(scaled(3), ONE) == scaled(2)
    assert difference(ONE, None) == ONE
    assert difference(ONE, scaled(3)) == ONE
