"""GRPCRoutes of Services."""

from __future__ import annotations

import re
from pathlib import Path

from deploy.standalone.control.gatewayapi import HttpRoute
from deploy.standalone.control.manifests.fields import Fields
from deploy.standalone.control.manifests.filters import OF_GRPC, read_filters
from deploy.standalone.control.manifests.matches import first_of_each, read_values
from deploy.standalone.control.manifests.routes import (
    read_backends,
    read_frame,
    read_persistence,
)
from deploy.standalone.control.manifests.texts import check_regex
from deploy.standalone.control.routing import MatchKind, RouteMatch, RouteRule, TextMatch

#: A name between two slashes.
ANY = "[^/]+"
SERVICE = re.compile(r"[A-Za-z_][A-Za-z_0-9]*(\.[A-Za-z_][A-Za-z_0-9]*)*")
METHOD = re.compile(r"[A-Za-z_][A-Za-z_0-9]*")


def read_grpc_route(document: Fields, _folder: Path | None) -> HttpRoute:
    """Read a GRPCRoute."""
    return read_frame(document, "GRPCRoute", read_rule)


def read_rule(fields: Fields, namespace: str) -> RouteRule:
    """Read one of ``rules``."""
    matches = tuple(read_match(inner) for inner in fields.children("matches"))
    filters = read_filters(fields, namespace, OF_GRPC)
    rule = RouteRule(
        matches=matches or (RouteMatch(rank=(False, 0, 0, 0)),),
        backends=read_backends(fields, namespace),
        name=fields.text("name"),
        edits=filters.edits,
        mirrors=filters.mirrors,
        persistence=read_persistence(fields),
    )
    fields.end()
    return rule


def read_match(fields: Fields) -> RouteMatch:
    """Read one of ``matches``: a service and a method are a path (gRPC over HTTP/2)."""
    inner = fields.child("method")
    kind = inner.choice("type", ("Exact", "RegularExpression"), "Exact")
    service, method = inner.text("service"), inner.text("method")
    if not inner.missing and not service and not method:
        inner.wrong("", "needs service or method")
    if kind == "RegularExpression":
        path = TextMatch(MatchKind.REGEX, f"/(?:{service or ANY})/(?:{method or ANY})")
        for name, text in (("service", service), ("method", method)):
            check_regex(inner, text, name)
    else:
        path = exact(service, method)
        for name, text, form in (("service", service, SERVICE), ("method", method, METHOD)):
            if text and not form.fullmatch(text):
                inner.wrong(name, f"{text!r} is no name of a gRPC {name}")
    headers = first_of_each(read_values(fields, "headers"), fold=True)
    inner.end()
    fields.end()
    rank = (kind != "Exact", -len(service), -len(method), -len(headers))
    return RouteMatch(path=path, headers=headers, rank=rank)


def exact(service: str, method: str) -> TextMatch:
    """The path of a service's method, where either may be any."""
    if service and method:
        return TextMatch(MatchKind.EXACT, f"/{service}/{method}")
    if service:
        return TextMatch(MatchKind.PREFIX, f"/{service}/")
    if method:
        return TextMatch(MatchKind.REGEX, f"/{ANY}/{re.escape(method)}")
    return TextMatch(MatchKind.SEGMENTS, "/")
