"""Path templates: Envoy's uri_template match, pure.

``*`` stands for one or more characters of one segment, ``**`` for any number of them,
slashes among them; it is the last of the wildcards.
"""

from __future__ import annotations

import itertools
import re
from dataclasses import dataclass, field

from waypoint.errors import RouteError
from waypoint.routing.text import Predicate, regex

#: What a template may hold beside wildcards and slashes, and a wildcard may stand for.
LITERAL = r"a-zA-Z0-9\-._~%!$&'()+,;:@="
PIECES = re.compile(rf"\*\*|\*|/|[{LITERAL}]+")
SEGMENT = f"[{LITERAL}*]+"
REST = f"[{LITERAL}*/]*"


def expression(template: str) -> str:
    """The regular expression of a template; raises RouteError for what is none."""
    pieces = PIECES.findall(template)
    if not template.startswith("/") or "".join(pieces) != template or "//" in template:
        raise RouteError(f"path template {template!r}: segments of letters, * and ** wanted")
    wild = [index for index, piece in enumerate(pieces) if piece[0] == "*"]
    if any(pieces[index] == "**" for index in wild[:-1]):
        raise RouteError(f"path template {template!r}: a wildcard follows **")
    if any(second == first + 1 for first, second in itertools.pairwise(wild)):
        raise RouteError(f"path template {template!r}: two wildcards without a slash")
    shown = {"*": SEGMENT, "**": REST}
    return "".join(shown.get(piece) or re.escape(piece) for piece in pieces)


@dataclass(frozen=True, slots=True)
class PathTemplate:
    """A template for whole paths, without their queries."""

    template: str
    test: Predicate = field(init=False, compare=False, repr=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "test", regex(expression(self.template)))
