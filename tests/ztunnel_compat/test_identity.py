from __future__ import annotations

import random

import pytest

from ztunnel_compat.errors import IdentityError
from ztunnel_compat.identity import Identity

CHARACTERS = "abcdefghijklmnopqrstuvwxyz0123456789-._:@%é"


def test_text_and_value_are_inverses():
    draw = random.Random(1)

    def part() -> str:
        return "".join(draw.choices(CHARACTERS, k=draw.randint(1, 12)))

    for _ in range(2_000):
        identity = Identity(part(), part(), part())
        assert Identity.parse(str(identity)) == identity


def test_form():
    identity = Identity("cluster.local", "bookinfo", "reviews")
    assert str(identity) == "spiffe://cluster.local/ns/bookinfo/sa/reviews"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "cluster.local/ns/a/sa/b",
        "https://cluster.local/ns/a/sa/b",
        "spiffe://cluster.local/ns/a/sa",
        "spiffe://cluster.local/ns/a/sa/",
        "spiffe://cluster.local/ns//sa/b",
        "spiffe:///ns/a/sa/b",
        "spiffe://cluster.local/ns/a/sa/b/c",
        "spiffe://cluster.local/namespace/a/sa/b",
        "spiffe://cluster.local/ns/a/serviceaccount/b",
    ],
)
def test_other_texts_are_refused_by_name(text):
    with pytest.raises(IdentityError) as caught:
        Identity.parse(text)
    assert repr(text) in str(caught.value)
