from __future__ import annotations

from pathlib import Path

import pytest

from tandem.host.loading import load_entry_point, load_inline
from tandem.plugins import Direction, FilterError

START = "from tandem.plugins import *\nclass F(Filter):\n"


def test_what_a_class_defines() -> None:
    code = START + "  bodies = ['response']\n  def on_body(self, r, d, l, w): pass"
    found = load_inline("x", code, "F", {"a": 1})
    assert (found.hooks, found.bodies) == (("on_body",), (Direction.RESPONSE,))
    assert found.filter.config == {"a": 1}
    # Bodies that nothing looks at are nobody's.
    found = load_inline("x", START + "  def on_request(self, request): pass", "F", {})
    assert (found.hooks, found.bodies, found.body_limit) == (("on_request",), (), 0)


def test_hooks_may_come_from_a_class_between_and_dataclasses_work() -> None:
    code = (
        "import dataclasses\n"
        "@dataclasses.dataclass\nclass D:\n  a: 'int' = 1\n"
        f"{START}  def on_request(self, request): pass\nclass G(F): pass"
    )
    assert load_inline("x", code, "G", {}).hooks == ("on_request",)


@pytest.mark.parametrize(
    ("code", "message"),
    [
        ("", "the code has no class 'F'"),
        ("F = 1", "1 is no class derived from tandem.plugins.Filter"),
        ("class F: pass", "is no class derived from"),
        (START + "  pass", "F defines none of on_request, on_response, on_body"),
        (START + "  def on_requests(self, r): pass", "F.on_requests is never called"),
        (START + "  async def on_request(self, r): pass", "F.on_request is async"),
        (START + "  def on_request(self): pass", "F.on_request is called with request:"),
        (
            START + "  def on_body(self, r, data): pass",
            "F.on_body is called with request, data, last, direction:",
        ),
        (START + "  body_limit = -1\n  def on_request(self, r): pass", "body_limit is -1"),
        (START + "  bodies = ['x']\n  def on_body(self, r, d, l, w): pass", "bodies: 'x'"),
    ],
)
def test_mistakes_are_named(code: str, message: str) -> None:
    with pytest.raises(FilterError, match=message):
        load_inline("x", code, "F", {})


def test_an_installed_filter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tenants_filter.py").write_text(START + "  def on_request(self, request): pass")
    about = tmp_path / "tenants_filter-1.0.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(
        "Metadata-Version: 2.1\nName: tenants-filter\nVersion: 1.0\n"
    )
    (about / "entry_points.txt").write_text("[tandem.plugins]\ntenants = tenants_filter:F\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert load_entry_point("tenants", {}).hooks == ("on_request",)
    with pytest.raises(FilterError, match=r"no entry point 'others' in .*: there are tenants"):
        load_entry_point("others", {})
