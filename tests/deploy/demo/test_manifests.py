"""The demo's own manifests, read as the control plane does."""

from __future__ import annotations

from deploy.demo.routing import BOOKINFO
from deploy.demo.security import HERE
from tests.deploy.standalone.control.helpers import Mesh


def test_all_of_them_are_in_force() -> None:
    files = [*HERE.glob("*.yaml"), *BOOKINFO.glob("*.yaml")]
    mesh = Mesh(*(file.read_text() for file in files))
    mesh.report()
    assert mesh.messages() == []
    policies = {
        workload.workload_name: set(workload.authorization_policies)
        for workload in mesh.workloads().values()
    }
    strict = "istio-system/istio_converted_static_strict"
    assert policies["ratings-v1"] == {strict, "bookinfo/ratings-for-reviews"}
    assert policies["productpage-v1"] == {
        "bookinfo/converted_peer_authentication_page-for-browsers"
    }
    assert policies["stranger"] == set()
