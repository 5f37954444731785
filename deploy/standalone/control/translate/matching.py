"""Matches in Envoy's words."""

from __future__ import annotations

from typing import Any

from envoy.config.route.v3 import route_components_pb2 as envoy
from envoy.type.matcher.v3.metadata_pb2 import MetadataMatcher
from envoy.type.matcher.v3.regex_pb2 import RegexMatcher
from envoy.type.matcher.v3.string_pb2 import StringMatcher
from envoy.type.matcher.v3.value_pb2 import ListMatcher, OrMatcher, ValueMatcher

from deploy.standalone.control.routing import (
    ClaimMatch,
    FieldMatch,
    MatchKind,
    RouteMatch,
    Source,
    TextMatch,
)

#: Who asks, as the waypoint proves it: path "namespace", or "labels" and a name.
SOURCE_FILTER = "tandem.io/source"
#: Who looks at tokens, and where among what it finds the claims are.
TOKENS, PAYLOAD = "envoy.filters.http.jwt_authn", "payload"


def envoy_match(match: RouteMatch, namespaces: tuple[str, ...] = ()) -> Any:
    """A match; namespaces: whose requests it is for besides, () for all."""
    message = envoy.RouteMatch()
    path = match.path
    match path.kind:
        case MatchKind.EXACT:
            message.path = path.value
        case MatchKind.REGEX:
            message.safe_regex.CopyFrom(RegexMatcher(regex=path.value))
        case MatchKind.SEGMENTS if path.value != "/":
            message.path_separated_prefix = path.value
        case _:
            message.prefix = path.value or "/"
    if path.ignore_case:
        message.case_sensitive.value = False
    for header in match.headers:
        message.headers.append(header_matcher(header))
    for parameter in match.query:
        found = message.query_parameters.add(name=parameter.name)
        if parameter.text.kind is MatchKind.PRESENT:
            found.present_match = True
        else:
            found.string_match.CopyFrom(string_matcher(parameter.text))
    message.dynamic_metadata.extend(source_matchers(match.source, namespaces))
    message.dynamic_metadata.extend(map(claim_matcher, match.claims))
    return message


def header_matcher(header: FieldMatch) -> Any:
    """A header's match. One that is missing counts as one that doesn't match."""
    message = envoy.HeaderMatcher(name=header.name.lower(), invert_match=header.inverted)
    if header.text.kind is MatchKind.PRESENT:
        message.present_match = True
        return message
    message.string_match.CopyFrom(string_matcher(header.text))
    message.treat_missing_header_as_empty = header.inverted
    return message


def string_matcher(text: TextMatch) -> Any:
    """A text's match; a regular expression is for the whole of it."""
    match text.kind:
        case MatchKind.REGEX:
            return StringMatcher(safe_regex=RegexMatcher(regex=text.value))
        case MatchKind.PREFIX:
            return StringMatcher(prefix=text.value)
        case _:
            return StringMatcher(exact=text.value)


def source_matchers(source: Source, namespaces: tuple[str, ...]) -> list[Any]:
    """Matches of who asks; a match's own namespace is one of the namespaces."""
    found = []
    meant = source.namespaces or namespaces
    if len(meant) == 1:
        found.append(metadata_matcher(("namespace",), StringMatcher(exact=meant[0])))
    elif meant:
        any_of = StringMatcher(safe_regex=RegexMatcher(regex="|".join(sorted(meant))))
        found.append(metadata_matcher(("namespace",), any_of))
    for name, value in sorted(source.labels.items()):
        found.append(metadata_matcher(("labels", name), StringMatcher(exact=value)))
    return found


def claim_matcher(claim: ClaimMatch) -> Any:
    """A match of a claim, or of one of a list."""
    if claim.text.kind is MatchKind.PRESENT:
        value = ValueMatcher(present_match=True)
    else:
        text = ValueMatcher(string_match=string_matcher(claim.text))
        listed = ValueMatcher(list_match=ListMatcher(one_of=text))
        value = ValueMatcher(or_match=OrMatcher(value_matchers=[listed, text]))
    message = MetadataMatcher(filter=TOKENS, value=value, invert=claim.inverted)
    for key in (PAYLOAD, *claim.path):
        message.path.add(key=key)
    return message


def metadata_matcher(path: tuple[str, ...], text: Any) -> Any:
    """A match of one text of the source's."""
    message = MetadataMatcher(filter=SOURCE_FILTER, value=ValueMatcher(string_match=text))
    for key in path:
        message.path.add(key=key)
    return message
