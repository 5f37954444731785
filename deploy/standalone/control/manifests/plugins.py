"""PythonFilters: filters of users' own."""

from __future__ import annotations

import json
import re
import warnings
from pathlib import Path
from typing import Any

import yaml
from yaml.constructor import SafeConstructor

from deploy.standalone.control.manifests.durations import read_time
from deploy.standalone.control.manifests.fields import Fields, describe
from deploy.standalone.control.manifests.metadata import read_metadata
from deploy.standalone.control.manifests.targetrefs import read_target_refs
from deploy.standalone.control.pluginapi import Phase, PythonFilter
from deploy.standalone.control.problems import Origin

VERSIONS = ("tandem.io/v1alpha1",)
#: Characters of code, values in a configuration, seconds of a call, bytes.
MOST_CODE = 64 * 1024
MOST_VALUES = 4096
LONGEST = 60.0
LEAST_MEMORY, MOST_MEMORY = 16 << 20, 16 << 30
MEMORY = re.compile(r"([0-9]{1,6})(Mi|Gi)")
UNITS = {"Mi": 1 << 20, "Gi": 1 << 30}
STRATEGIES = ("FAIL_CLOSE", "FAIL_OPEN")
_constructor = SafeConstructor()


def read_plugin(document: Fields, _folder: Path | None) -> PythonFilter:
    """Read a PythonFilter."""
    metadata = read_metadata(document)
    document.ignore("status")
    spec = document.child("spec")
    targets = read_target_refs(spec, metadata.namespace)
    if not targets:
        spec.wrong("targetRefs", "missing: name a Service, ServiceEntry or Gateway")
    code, entry_point = spec.text("code"), spec.text("entryPoint")
    class_name = spec.text("class")
    if bool(code) is bool(entry_point):
        spec.wrong("code", "give either code, with class, or entryPoint")
    elif bool(code) is not bool(class_name):
        spec.wrong("class", "goes with code: it names the code's class")
    elif code:
        check_code(spec, code, class_name)
    made = PythonFilter(
        namespace=metadata.namespace,
        name=metadata.name,
        targets=targets,
        phase=Phase(spec.choice("phase", list(Phase), Phase.LAST)),
        priority=spec.integer("priority", 0, -(2**31), 2**31 - 1),
        code=code,
        class_name=class_name,
        entry_point=entry_point,
        config=read_config(spec),
        fail_open=spec.choice("failStrategy", STRATEGIES, STRATEGIES[0]) == "FAIL_OPEN",
        timeout=read_timeout(spec),
        memory=read_memory(spec),
        origin=document.origin,
    )
    spec.end()
    return made


def check_code(spec: Fields, code: str, class_name: str) -> None:
    """Report what can be seen of code without running it, at its own line."""
    node = spec.value("code")
    assert isinstance(node, yaml.ScalarNode)
    if len(code) > MOST_CODE:
        spec.wrong("code", f"{len(code)} characters: {MOST_CODE} at most; use an entryPoint")
        return
    try:
        with warnings.catch_warnings(action="ignore"):
            compiled = compile(code, "code", "exec", dont_inherit=True)
    except SyntaxError as error:
        number = error.lineno or 1
        line = spec.report.origin(node).line
        # The text of a block begins in the line after its "|".
        place = Origin(spec.report.file, line + number if node.style == "|" else line)
        told = f"line {number} of the code doesn't compile: {error.msg}"
        spec.report.problems.append(place.error(spec.at("code"), told))
    except (ValueError, RecursionError, MemoryError, OverflowError) as error:
        spec.wrong("code", f"doesn't compile: {str(error) or type(error).__name__}")
    else:
        if class_name not in compiled.co_names:
            spec.wrong("class", f"the code has no class {class_name!r}")


def read_timeout(spec: Fields) -> float:
    """``timeout``; 0 when absent."""
    found = read_time(spec, "timeout") or 0.0
    if found > LONGEST:
        spec.wrong(
            "timeout", f"{spec.text('timeout')!r} is too long: give {LONGEST:g}s at most"
        )
    return found


def read_memory(spec: Fields) -> int:
    """``memory``; 0 when absent."""
    text = spec.text("memory")
    if not text:
        return 0
    form = MEMORY.fullmatch(text)
    found = int(form[1]) * UNITS[form[2]] if form else 0
    if not LEAST_MEMORY <= found <= MOST_MEMORY:
        spec.wrong("memory", f"{text!r} is not from 16Mi to 16Gi: write it as 64Mi or 1Gi")
    return found


def read_config(spec: Fields) -> str:
    """``config``, any mapping, as JSON."""
    node = spec.value("config")
    if node is None:
        return "{}"
    if not isinstance(node, yaml.MappingNode):
        spec.wrong("config", f"expected a mapping, not {describe(node)}")
        return "{}"
    # Aliases can make much of little.
    left = [MOST_VALUES]
    try:
        return json.dumps(plain(node, left), sort_keys=True, allow_nan=False)
    except (ValueError, RecursionError) as error:
        spec.wrong("config", f"can't be JSON: {error}")
        return "{}"


def plain(node: yaml.Node, left: list[int]) -> Any:
    """A node's value as JSON has it; raises ValueError. left: how many more there may be."""
    left[0] -= 1
    if left[0] < 0:
        raise ValueError(f"more than {MOST_VALUES} values")
    if isinstance(node, yaml.MappingNode):
        return {key_of(key): plain(value, left) for key, value in node.value}
    if isinstance(node, yaml.SequenceNode):
        return [plain(each, left) for each in node.value]
    value = _constructor.construct_object(node)
    if value is None or isinstance(value, bool | int | float | str):
        return value
    raise ValueError(f"{describe(node)}: put it in quotes")


def key_of(node: yaml.Node) -> str:
    """A mapping's key; raises ValueError where it is no text."""
    value = _constructor.construct_object(node) if isinstance(node, yaml.ScalarNode) else None
    if not isinstance(value, str):
        raise ValueError(f"a key is {describe(node)}: put it in quotes")
    return value
