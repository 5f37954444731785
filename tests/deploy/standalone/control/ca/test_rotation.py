from __future__ import annotations

import pytest

from deploy.standalone.control.ca.rotation import Rotation, Step
from deploy.standalone.control.errors import RotationError


def test_a_root_is_changed_in_three_steps() -> None:
    rotation = Rotation().issued(1000)
    assert rotation.advance(5000) == rotation, "nothing was asked for"
    published = rotation.begin()
    assert (published.step, published.trusted, published.signing) == (
        Step.PUBLISHED,
        (1, 2),
        1,
    )
    # Issued after the publication: its holder knows both roots, nobody waits for it.
    published = published.issued(1500)
    assert published.advance(1000) == published
    signing = published.advance(1001)
    assert (signing.step, signing.trusted, signing.signing) == (Step.SIGNING, (1, 2), 2)
    # But of the old root: it must have ended before the old root is forgotten.
    assert signing.due == 1500
    signing = signing.issued(9000)
    assert signing.advance(1500) == signing
    stable = signing.advance(1501)
    assert (stable.step, stable.trusted, stable.signing) == (Step.STABLE, (2,), 2)
    assert stable.begin().trusted == (2, 3)
    assert stable.begin().due == 9000


def test_without_certificates_there_is_nothing_to_wait_for() -> None:
    assert Rotation().begin().advance(1).advance(2) == Rotation(trusted=(2,), signing=2)


def test_one_change_at_a_time() -> None:
    with pytest.raises(RotationError, match="being changed already"):
        Rotation().begin().begin()


def test_an_earlier_end_changes_nothing() -> None:
    assert Rotation(latest=50).issued(40) == Rotation(latest=50)


@pytest.mark.parametrize(
    ("trusted", "signing"), [((), 1), ((1, 2, 3), 1), ((2, 1), 1), ((1, 1), 1), ((1,), 2)]
)
def test_what_makes_no_sense_is_refused(trusted: tuple[int, ...], signing: int) -> None:
    with pytest.raises(RotationError):
        Rotation(trusted=trusted, signing=signing)
