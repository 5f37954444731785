"""Each module runs the sample that it names, from its own directory."""

from __future__ import annotations

import itertools
import json
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.mesh import ROOT, MeshHandle

_octets = itertools.count(160, 2)


@pytest.fixture(scope="module")
def mesh(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[MeshHandle]:
    """The running mesh of the module's SAMPLE; nothing may stay behind."""
    sample = request.module.SAMPLE
    folder = ROOT / "deploy" / "samples" / sample
    handle = MeshHandle(f"s-{sample}", folder, next(_octets))
    handle.output = Path(tmp_path_factory.mktemp("sample")) / "mesh.out"
    with handle.up():
        yield handle


def answers(mesh: MeshHandle, path: str, count: int, *options: str) -> Counter[str]:
    """How often each status and version came, asked by the pod client."""
    url = f"http://echo{path}?[1-{count}]" if count > 1 else f"http://echo{path}"
    done = mesh.run(
        "client", "curl", "-sS", "-m", "10", "-w", "%{stderr}%{http_code}\\n", *options, url,
        namespace=mesh.folder.name,
    )  # fmt: skip
    # Bodies of other answers end in no line of their own.
    bodies = [json.loads(body)["version"] for body in re.findall(r"{.*?}", done.stdout)]
    codes = Counter(done.stderr.split())
    good = Counter(f"200 {version}" for version in bodies)
    del codes["200"]
    return good + codes
