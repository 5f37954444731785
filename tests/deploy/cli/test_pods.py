"""Which pod a user means."""

from __future__ import annotations

from pathlib import Path

import pytest

from deploy.cli.errors import CommandError
from deploy.cli.pods import PodRecord, is_of_deployment, resolve


def pod(namespace: str, name: str) -> PodRecord:
    return PodRecord(namespace, name, "node1", "/run/netns/x", Path("/x"))


PODS = [
    pod("bookinfo", "details-v1-abc12-x1"),
    pod("bookinfo", "reviews-v1-abc12-x1"),
    pod("bookinfo", "reviews-v1-abc12-x2"),
    pod("bookinfo", "traffic"),
    pod("bookinfo", "traffic-2"),
    pod("other", "details-v1-abc12-x9"),
    pod("other", "echo"),
]


@pytest.mark.parametrize(
    ("wanted", "namespace", "found"),
    [
        ("traffic", None, "bookinfo/traffic"),
        ("echo", "other", "other/echo"),
        ("ec", None, "other/echo"),
        ("details", "other", "other/details-v1-abc12-x9"),
        ("deploy/reviews-v1", None, "bookinfo/reviews-v1-abc12-x1"),
        ("deployment/details-v1", "bookinfo", "bookinfo/details-v1-abc12-x1"),
    ],
)
def test_full_name_prefix_and_deployment(
    wanted: str, namespace: str | None, found: str
) -> None:
    assert str(resolve(PODS, wanted, namespace)) == found


@pytest.mark.parametrize(
    ("wanted", "namespace", "words"),
    [
        ("nope", None, "no pod 'nope': `tandem get pods`"),
        ("echo", "bookinfo", "in namespace bookinfo"),
        ("reviews", None, "bookinfo/reviews-v1-abc12-x1, bookinfo/reviews-v1-abc12-x2"),
        ("deploy/details-v1", None, "use -n NAMESPACE"),
        ("deploy/reviews", None, "no pod 'deploy/reviews'"),
        ("service/x", None, "use POD or deploy/NAME"),
    ],
)
def test_what_is_not_one_pod_is_an_error(
    wanted: str, namespace: str | None, words: str
) -> None:
    with pytest.raises(CommandError) as caught:
        resolve(PODS, wanted, namespace)
    assert words in str(caught.value)


def test_many_candidates_are_cut_short() -> None:
    with pytest.raises(CommandError) as caught:
        resolve([pod("a", f"p{i}") for i in range(20)], "p", None)
    assert "a/p4, …" in str(caught.value)


@pytest.mark.parametrize(
    ("name", "deployment", "expected"),
    [
        ("reviews-v1-abc12-x1", "reviews-v1", True),
        ("reviews-v1-abc12-x1", "reviews", False),
        ("reviews-v1", "reviews-v1", False),
        ("a+b-c-d", "a.b", False),
    ],
)
def test_pods_of_a_deployment(name: str, deployment: str, *, expected: bool) -> None:
    assert is_of_deployment(name, deployment) is expected
