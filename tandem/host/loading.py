"""From a PythonFilter's code or entry point to a filter."""

from __future__ import annotations

import inspect
import linecache
import sys
from collections.abc import Mapping
from importlib.metadata import entry_points
from types import ModuleType
from typing import Any, NamedTuple

from tandem.plugins.errors import FilterError
from tandem.plugins.filters import Direction, Filter

GROUP = "tandem.plugins"
#: Bytes of a body that a filter may have waited for.
MOST_BODY = 1 << 20
HOOKS = ("on_request", "on_response", "on_body")


class Loaded(NamedTuple):
    """A filter, and what it defines.

    hooks: of HOOKS; bodies: whose on_body sees; body_limit: as the class has it.
    """

    filter: Filter
    hooks: tuple[str, ...]
    bodies: tuple[Direction, ...]
    body_limit: int

    def described(self) -> dict[str, Any]:
        """What the waypoint has to know of it, JSON-able."""
        return {
            "hooks": list(self.hooks),
            "bodies": [each.value for each in self.bodies],
            "body_limit": self.body_limit,
        }


def load_inline(name: str, code: str, class_name: str, config: Mapping[str, Any]) -> Loaded:
    """Run inline code and make a filter of its class; name: whose, for tracebacks.

    Raises whatever the code does, and FilterError.
    """
    file = f"<{name}>"
    compiled = compile(code, file, "exec", dont_inherit=True)
    module = ModuleType(f"tandem_plugin_{class_name}")
    module.__file__ = file
    linecache.cache[file] = (len(code), None, code.splitlines(keepends=True), file)
    # Dataclasses look their module up.
    sys.modules[module.__name__] = module
    exec(compiled, module.__dict__)  # noqa: S102 - that is what it is for
    found = module.__dict__.get(class_name)
    if found is None:
        raise FilterError(f"the code has no class {class_name!r}")
    return instance(found, config)


def load_entry_point(name: str, config: Mapping[str, Any]) -> Loaded:
    """Make a filter of an installed package's class, by its entry point in GROUP."""
    found = entry_points(group=GROUP)
    if name not in found.names:
        known = ", ".join(sorted(found.names)) or "none"
        raise FilterError(f"no entry point {name!r} in group {GROUP}: there are {known}")
    return instance(found[name].load(), config)


def instance(found: object, config: Mapping[str, Any]) -> Loaded:
    """An instance of a class, when it is a filter's. Raises FilterError."""
    if not inspect.isclass(found) or not issubclass(found, Filter):
        raise FilterError(f"{found!r} is no class derived from tandem.plugins.Filter")
    check_hooks(found)
    limit = found.body_limit
    if not isinstance(limit, int) or not 0 <= limit <= MOST_BODY:
        raise FilterError(f"body_limit is {limit!r}: give a number from 0 to {MOST_BODY}")
    try:
        bodies = tuple(dict.fromkeys(Direction(each) for each in found.bodies))
    except (TypeError, ValueError) as error:
        raise FilterError(
            f"bodies: {error}: give Direction.REQUEST, RESPONSE or both"
        ) from error
    hooks = tuple(each for each in HOOKS if getattr(found, each) is not getattr(Filter, each))
    if not hooks:
        raise FilterError(f"{found.__name__} defines none of {', '.join(HOOKS)}")
    return Loaded(found(config), hooks, bodies if "on_body" in hooks else (), limit)


def check_hooks(found: type[Filter]) -> None:
    """Raise FilterError for methods that look like hooks, or can't be called as such."""
    for name in dir(found):
        if name.startswith("on_") and name not in HOOKS:
            raise FilterError(
                f"{found.__name__}.{name} is never called: {', '.join(HOOKS)} are"
            )
    for name in HOOKS:
        method = getattr(found, name)
        if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
            raise FilterError(
                f"{found.__name__}.{name} is async: filters are called, not awaited"
            )
        wanted = len(inspect.signature(getattr(Filter, name)).parameters)
        try:
            inspect.signature(method).bind(*range(wanted))
        except TypeError as error:
            taken = ", ".join(list(inspect.signature(getattr(Filter, name)).parameters)[1:])
            raise FilterError(
                f"{found.__name__}.{name} is called with {taken}: {error}"
            ) from error
