"""Cross-origin rules of the Gateway API."""

from __future__ import annotations

import re

from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.texts import TOKEN
from deploy.standalone.control.routing import Cors, MatchKind, TextMatch

ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(\*|(\*\.)?[A-Za-z0-9_.-]+)(:([0-9]{1,5}|\*))?")
#: The Gateway API's, in seconds.
MAX_AGE = 5
ANY = "*"


def read_cors(body: Fields) -> Cors:
    """Read ``cors`` of a filter."""
    names = {}
    for field in ("allowMethods", "allowHeaders", "exposeHeaders"):
        names[field] = body.texts(field)
        for name in names[field]:
            if name != ANY and not TOKEN.fullmatch(name):
                body.wrong(field, f"{name!r} is no name that a request can have")
    return Cors(
        origins=tuple(read_origin(body, text) for text in body.texts("allowOrigins")),
        methods=names["allowMethods"],
        headers=names["allowHeaders"],
        exposed=names["exposeHeaders"],
        max_age=float(body.integer("maxAge", MAX_AGE, 1, (1 << 31) - 1)),
        credentials=body.boolean("allowCredentials"),
    )


def read_origin(body: Fields, text: str) -> TextMatch:
    """An origin, in which a star stands for all labels of a host, or for all of it."""
    if text == ANY:
        return TextMatch(MatchKind.REGEX, ".*")
    if not ORIGIN.fullmatch(text):
        body.wrong(
            "allowOrigins", f"{text!r} is no origin: write it as https://shop.example, or *"
        )
    if ANY not in text:
        return TextMatch(MatchKind.EXACT, text)
    scheme, _, host = text.partition("://")
    name, colon, port = host.partition(":")
    pattern = "[^:/]+" if name == ANY else re.escape(name).replace(r"\*", "[^:/]+")
    tail = f":{port.replace(ANY, '[0-9]+')}" if colon else ""
    return TextMatch(MatchKind.REGEX, f"{re.escape(scheme)}://{pattern}{tail}")
