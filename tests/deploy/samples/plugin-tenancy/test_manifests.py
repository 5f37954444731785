"""The sample's filter by the test-kit, as its users would, and its manifests."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

import deploy
from tandem.plugins import Caller, FilterError, Request, Response
from tandem.plugins.testing import Loaded, load_code, run
from tests.deploy.standalone.control.helpers import Mesh

SAMPLE = Path(deploy.__file__).parent / "samples" / "plugin-tenancy"
SPEC = yaml.safe_load((SAMPLE / "filter.yaml").read_text())["spec"]


@pytest.fixture
def tenancy() -> Loaded:
    return load_code(SPEC["code"], SPEC["class"], SPEC["config"])


def caller(account: str) -> Caller:
    return Caller(f"spiffe://cluster.local/ns/plugin-tenancy/sa/{account}")


@pytest.mark.parametrize(
    ("account", "asked", "tenant"),
    [("acme", None, "acme"), ("acme", "acme", "acme"), ("agency", "globex", "globex")],
)
def test_a_caller_acts_for_its_tenants(
    tenancy: Loaded, account: str, asked: str | None, tenant: str
) -> None:
    request = Request(caller=caller(account), headers={"X-Tenant": asked} if asked else {})
    outcome = run(tenancy, request, service=lambda _request, _body: Response(200, body="hi"))
    assert (outcome.status, outcome.response.body) == (200, b"hi")
    assert outcome.headers["x-tenant"] == tenant
    assert outcome.request.headers["x-tenant"] == tenant
    assert outcome.request.reroute
    assert outcome.request.notes == {"tenant": tenant}


@pytest.mark.parametrize(
    ("account", "asked", "status"),
    [
        ("agency", None, 400),
        ("acme", "globex", 403),
        ("stranger", None, 403),
        ("stranger", "acme", 403),
    ],
)
def test_and_for_no_other(
    tenancy: Loaded, account: str, asked: str | None, status: int
) -> None:
    request = Request(caller=caller(account), headers={"x-tenant": asked} if asked else {})
    outcome = run(tenancy, request)
    assert outcome.status == status
    assert not outcome.forwarded


def test_a_configuration_without_callers_is_refused() -> None:
    with pytest.raises(FilterError, match="no tenant has a caller"):
        load_code(SPEC["code"], SPEC["class"], {"tenants": {"acme": []}})


def test_the_manifests_make_a_mesh_without_a_problem() -> None:
    texts = [(SAMPLE / name).read_text() for name in ("mesh.yaml", "filter.yaml")]
    mesh = Mesh(*[text.replace("../programs", str(SAMPLE)) for text in texts])
    mesh.report()
    assert mesh.messages() == []
    assert mesh.view.filters
