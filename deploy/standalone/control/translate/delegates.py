"""VirtualServices that leave some of their rules to others, with those in place.

A delegate has no hosts. Each of its rules takes the place of the one that names it, for
requests that match both, and keeps what it says itself (Istio's mergeHTTPRoute).
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from deploy.standalone.control.objects import Key
from deploy.standalone.control.problems import Problem
from deploy.standalone.control.routing import (
    DEFAULT_RETRY,
    NO_EDITS,
    Answer,
    FieldMatch,
    MatchKind,
    RouteMatch,
    RouteRule,
    Source,
    TextMatch,
)
from deploy.standalone.control.trafficapi import VirtualService
from deploy.standalone.control.world import Name

ANYTHING = RouteMatch()


#: What requests get whose rules aren't there: they must not meet later rules instead.
NOBODY = Answer(503, b"no delegate\n")


def resolved(
    services: Sequence[VirtualService], problems: list[Problem]
) -> tuple[list[VirtualService], dict[Key, set[Key]]]:
    """Those with hosts, their rules complete; and which delegates each has.

    What is wrong is added to problems.
    """
    delegates = {service.key: service for service in services if not service.hosts}
    resolver = Resolver(delegates, problems)
    found = [
        replace(service, http=resolver.rules_of(service)) if service.hosts else None
        for service in services
    ]
    wanted = {key for keys in resolver.used.values() for key in keys}
    problems += [
        service.origin.notice(
            "spec.hosts", "without effect: it has no hosts, and nobody delegates to it"
        )
        for key, service in delegates.items()
        if key not in wanted
    ]
    return [service for service in found if service], resolver.used


@dataclass(slots=True)
class Resolver:
    """Puts rules in place; used: by which VirtualService which delegates are."""

    delegates: Mapping[Key, VirtualService]
    problems: list[Problem]
    used: dict[Key, set[Key]] = field(default_factory=dict)

    def rules_of(self, service: VirtualService) -> tuple[RouteRule, ...]:
        """The rules of one with hosts."""
        found: list[RouteRule] = []
        for index, rule in enumerate(service.http):
            if rule.delegate is None:
                found.append(rule)
                continue
            path = f"spec.http[{index}].delegate"
            made = self.in_place(service, rule, rule.delegate, path)
            found += made or [replace(rule, action=NOBODY, delegate=None)]
        return tuple(found)

    def in_place(
        self, service: VirtualService, rule: RouteRule, name: Name, path: str
    ) -> list[RouteRule]:
        """The rules in the place of one; path: where it names them."""
        delegate = self.delegates.get(Key("VirtualService", *name))
        title = f"VirtualService {name[0]}/{name[1]}"
        wrong = ""
        if delegate is None:
            wrong = f"there is no {title} without hosts"
        elif delegate.visible and service.namespace not in delegate.visible:
            wrong = f"{title} isn't exported to {service.namespace}"
        if delegate is None or wrong:
            self.problems.append(service.origin.error(path, wrong))
            return []
        self.used.setdefault(service.key, set()).add(delegate.key)
        made = []
        for number, leaf in enumerate(delegate.http):
            if found := merged(rule, leaf):
                made.append(found)
                continue
            self.problems.append(
                service.origin.error(
                    path,
                    f"http[{number}] of {title} has a match that is in none of this rule's",
                )
            )
        return made


def merged(root: RouteRule, leaf: RouteRule) -> RouteRule | None:
    """A delegate's rule in the place of the root's; None: one of its matches isn't within.

    What the delegate doesn't say of it is as the root has it.
    """
    matches: list[RouteMatch] = []
    for match in leaf.matches:
        both = [found for outer in root.matches if (found := narrowed(outer, match))]
        if not both:
            return None
        matches += both
    rewrites = leaf if leaf.path or leaf.authority else root
    retries = leaf if leaf.retry != DEFAULT_RETRY or leaf.try_timeout else root
    return replace(
        leaf,
        matches=tuple(matches),
        name="-".join(filter(None, (root.name, leaf.name))),
        timeout=leaf.timeout or root.timeout,
        try_timeout=retries.try_timeout,
        retry=retries.retry,
        edits=leaf.edits if leaf.edits != NO_EDITS else root.edits,
        authority=rewrites.authority,
        path=rewrites.path,
        mirrors=leaf.mirrors or root.mirrors,
        cors=leaf.cors or root.cors,
        fault=leaf.fault or root.fault,
    )


def narrowed(root: RouteMatch, leaf: RouteMatch) -> RouteMatch | None:
    """What is in both; None: the leaf isn't within the root, or nothing is in both."""
    path = narrower(root.path, leaf.path)
    source = both_sources(root.source, leaf.source)
    if path is None or source is None or (root.port and leaf.port not in {0, root.port}):
        return None
    headers = both_fields(root.headers, leaf.headers)
    query = both_fields(root.query, leaf.query)
    if headers is None or query is None:
        return None
    claims = (*root.claims, *leaf.claims)
    return RouteMatch(path, headers, query, source, claims, root.port or leaf.port)


def narrower(root: TextMatch, leaf: TextMatch) -> TextMatch | None:
    """The leaf's text where it is within the root's; expressions aren't compared."""
    if root in {ANYTHING.path, leaf} or root.kind is MatchKind.PRESENT:
        return leaf
    if leaf in {ANYTHING.path, TextMatch(MatchKind.PRESENT)}:
        return root
    if MatchKind.REGEX in {root.kind, leaf.kind} or root.ignore_case != leaf.ignore_case:
        return None
    outer, inner = root.value, leaf.value
    if root.ignore_case:
        outer, inner = outer.lower(), inner.lower()
    return leaf if root.kind is MatchKind.PREFIX and inner.startswith(outer) else None


def both_fields(
    root: tuple[FieldMatch, ...], leaf: tuple[FieldMatch, ...]
) -> tuple[FieldMatch, ...] | None:
    """Conditions of both, once; None where two of one name exclude each other."""
    inner = {each.name: each for each in leaf if not each.inverted}
    kept: list[FieldMatch] = []
    for each in root:
        other = inner.get(each.name)
        if each.inverted or other is None:
            kept.append(each)
            continue
        text = narrower(each.text, other.text)
        if text is None:
            return None
        inner[each.name] = replace(other, text=text)
    changed = [each if each.inverted else inner[each.name] for each in leaf]
    return tuple(dict.fromkeys((*kept, *changed)))


def both_sources(root: Source, leaf: Source) -> Source | None:
    """Who is meant by both; None: nobody."""
    namespaces = root.namespaces or leaf.namespaces
    if root.namespaces and leaf.namespaces and root.namespaces != leaf.namespaces:
        return None
    labels = dict(root.labels) | dict(leaf.labels)
    if any(labels[name] != value for name, value in root.labels.items()):
        return None
    return Source(namespaces, labels)
