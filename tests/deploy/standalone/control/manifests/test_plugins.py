from __future__ import annotations

import json

import pytest

from deploy.standalone.control.pluginapi import Phase, PythonFilter
from tests.deploy.standalone.control.helpers import complaints, one, plugin

WEB = "targetRefs: [{kind: Service, name: web}]\n"
CODE = """code: |
  from tandem.plugins import Filter
  class Tenants(Filter):
      def on_request(self, request):
          return None
class: Tenants
"""


def parsed(spec: str) -> PythonFilter:
    found = one(plugin(spec))
    assert isinstance(found, PythonFilter)
    return found


def test_all_there_is() -> None:
    found = parsed(
        WEB + CODE + "phase: AUTHN\npriority: 10\nfailStrategy: FAIL_OPEN\ntimeout: 20ms\n"
        "memory: 128Mi\nconfig: {a: [1, 2.5, yes, null, 'x'], b: {c: d}}\n"
    )
    assert (found.phase, found.priority, found.fail_open) == (Phase.AUTHN, 10, True)
    assert (found.timeout, found.memory) == (0.02, 128 << 20)
    assert json.loads(found.config) == {"a": [1, 2.5, True, None, "x"], "b": {"c": "d"}}
    assert found.code.startswith("from tandem.plugins import Filter\nclass Tenants")
    assert (found.class_name, found.entry_point) == ("Tenants", "")


def test_what_is_not_said() -> None:
    found = parsed(WEB + "entryPoint: tenants")
    assert (found.phase, found.priority, found.fail_open) == (Phase.LAST, 0, False)
    assert (found.timeout, found.memory, found.config) == (0.0, 0, "{}")
    assert (found.entry_point, found.code) == ("tenants", "")


def test_code_that_does_not_compile_is_shown_at_its_line() -> None:
    ((line, field, message),) = complaints(plugin(WEB + CODE.replace("None", "None None")))
    assert "return None" in plugin(WEB + CODE).splitlines()[line - 1]
    assert field == "spec.code"
    assert message == "line 4 of the code doesn't compile: invalid syntax"


def deep() -> str:
    """Aliases that make a configuration of a billion values."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 9)]
    return "".join(f"  {line}\n" for line in lines)


@pytest.mark.parametrize(
    ("spec", "field", "message"),
    [
        (CODE, "targetRefs", "missing: name a Service, ServiceEntry or Gateway"),
        (WEB, "code", "give either code, with class, or entryPoint"),
        (f"{WEB}{CODE}entryPoint: x", "code", "give either code, with class, or entryPoint"),
        (f"{WEB}code: x = 1", "class", "goes with code: it names the code's class"),
        (f"{WEB}code: x = 1\nclass: y", "class", "the code has no class 'y'"),
        (f'{WEB}code: "x\\0"\nclass: x', "code", "doesn't compile: source code string"),
        (f"{WEB}code: '{'-' * 60000}1'\nclass: x", "code", "doesn't compile: MemoryError"),
        (f"{WEB}code: 'x{'.a' * 30000}'\nclass: x", "code", "doesn't compile: maximum recurs"),
        (f"{WEB}{CODE}phase: FIRST", "phase", "'FIRST' is none of AUTHN, AUTHZ, STATS"),
        (f"{WEB}{CODE}failStrategy: OPEN", "failStrategy", "'OPEN' is none of FAIL_CLOSE"),
        (f"{WEB}{CODE}timeout: 2h", "timeout", "'2h' is too long: give 60s at most"),
        (f"{WEB}{CODE}memory: 1Mi", "memory", "'1Mi' is not from 16Mi to 16Gi"),
        (f"{WEB}{CODE}memory: lots", "memory", "'lots' is not from 16Mi to 16Gi"),
        (f"{WEB}{CODE}config: [1]", "config", "expected a mapping, not a list"),
        (f"{WEB}{CODE}config: {{a: .nan}}", "config", "can't be JSON: "),
        (f"{WEB}{CODE}config: {{1: a}}", "config", "can't be JSON: a key is the number 1"),
        (f"{WEB}{CODE}config: {{a: 2020-01-01}}", "config", "can't be JSON: the date"),
        (f"{WEB}{CODE}config:\n{deep()}", "config", "can't be JSON: more than 4096 values"),
        (f"{WEB}{CODE}klass: x", "klass", "unknown field: did you mean class?"),
        (f"{WEB}code: '{'#' * 70000}'\nclass: x", "code", "70000 characters: 65536 at most"),
    ],
)
def test_what_is_wrong_is_named(spec: str, field: str, message: str) -> None:
    found = complaints(plugin(spec))
    assert [(f, m[: len(message)]) for _, f, m in found] == [(f"spec.{field}", message)]
