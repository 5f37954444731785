"""The sample's filter by the test-kit, as its users would, and its manifests."""

from __future__ import annotations

import base64
import hashlib
import hmac
from pathlib import Path

import pytest
import yaml

import deploy
from tandem.plugins import Request
from tandem.plugins.testing import Loaded, load_code, run
from tests.deploy.standalone.control.helpers import Mesh

SAMPLE = Path(deploy.__file__).parent / "samples" / "plugin-signing"
SPEC = yaml.safe_load((SAMPLE / "filter.yaml").read_text())["spec"]


@pytest.fixture
def signing() -> Loaded:
    return load_code(SPEC["code"], SPEC["class"], SPEC["config"])


@pytest.mark.parametrize("body", [b"", b"amount=1"])
def test_what_is_signed_can_be_verified(signing: Loaded, body: bytes) -> None:
    request = Request("POST", "/entries?a=b", authority="ledger", headers={"signature": "x"})
    outcome = run(signing, request, body=body)
    assert outcome.forwarded
    headers = outcome.request.headers
    digest = base64.b64encode(hashlib.sha256(body).digest()).decode()
    assert headers.get_all("content-digest") == [f"sha-256=:{digest}:"]
    assert outcome.body == body
    parameters = headers["signature-input"].removeprefix("mesh=")
    base = (
        f'"@method": POST\n"@authority": ledger\n"@request-target": /entries?a=b\n'
        f'"content-digest": sha-256=:{digest}:\n"@signature-params": {parameters}'
    )
    key = base64.b64decode(SPEC["config"]["key"])
    wanted = base64.b64encode(hmac.new(key, base.encode(), "sha256").digest()).decode()
    assert headers.get_all("signature") == [f"mesh=:{wanted}:"]


def test_a_body_that_is_too_long_is_not_signed(signing: Loaded) -> None:
    outcome = run(signing, Request("POST"), body=b"x" * 65537)
    assert outcome.status == 413
    assert not outcome.forwarded


def test_a_key_that_is_none_is_refused() -> None:
    with pytest.raises(ValueError, match="base64"):
        load_code(SPEC["code"], SPEC["class"], {"keyId": "k", "key": "not base64!"})


def test_the_manifests_make_a_mesh_without_a_problem() -> None:
    texts = [(SAMPLE / name).read_text() for name in ("mesh.yaml", "filter.yaml")]
    mesh = Mesh(*[text.replace("../programs", str(SAMPLE)) for text in texts])
    mesh.report()
    assert mesh.messages() == []
    assert mesh.view.filters
