from __future__ import annotations

from ztunnel_compat.identity import Identity
from ztunnel_compat.istio_labels import END, ENDS, UNKNOWN, called, end, identified
from ztunnel_compat.model import Service, Workload

WEB = Workload(
    "u", name="web-1", namespace="shop", workload_name="web", canonical_name="web",
    canonical_revision="v1", service_account="w",
)  # fmt: skip
WHO = Identity("td", "shop", "w")


def test_an_end_has_all_of_its_labels() -> None:
    assert dict(zip(END, end(WEB), strict=True)) == {
        "workload": "web",
        "canonical_service": "web",
        "canonical_revision": "v1",
        "workload_namespace": "shop",
        "principal": "spiffe://cluster.local/ns/shop/sa/w",
        "app": "web",
        "version": "v1",
        "cluster": "Kubernetes",
    }
    assert set(end(None)) == {UNKNOWN}
    assert end(Workload("u"))[0] == UNKNOWN
    assert len(ENDS) == 2 * len(END) + 3


def test_what_was_proven_goes_before_what_is_known() -> None:
    assert identified(WEB, WHO)[3:5] == ("shop", str(WHO))
    assert identified(None, WHO)[3:5] == ("shop", str(WHO))
    assert identified(None, WHO)[0] == UNKNOWN
    assert identified(WEB, None) == end(WEB)


def test_a_service_by_its_name() -> None:
    assert called(Service("web", "shop", "web.shop.svc")) == ("web.shop.svc", "shop", "web")
    assert called(None) == (UNKNOWN,) * 3
