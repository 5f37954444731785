"""What a name may stand for.

A pod's resolver appends search domains and strips nothing: the same service is
asked for as ``web``, ``web.app``, ``web.app.svc`` or in full, each also with a
search domain behind it. The forms, and their order, are ztunnel's
(src/dns/server.rs: get_aliases, to_kube_fqdns, get_wildcards).

Names are lower case, without the final dot.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Alias:
    """A name that the asked one may stand for.

    kept: how many labels of the asked name are left, where a search domain was
    taken off; 0 where none was.
    """

    name: str
    kept: int = 0


def aliases(name: str, namespace: str, domain: str) -> Iterator[Alias]:
    """What a name may stand for when a pod of this namespace asks; the likeliest first.

    domain: the cluster's. The search domains are those that Kubernetes gives to
    a pod; what a pod adds by its dnsConfig isn't known here.
    """
    seen = set()
    for kept, stripped in ((0, name), *without_search_domain(name, namespace, domain)):
        for form in (stripped, *in_full(stripped, namespace, domain)):
            if form not in seen:
                seen.add(form)
                yield Alias(form, kept)


def without_search_domain(name: str, namespace: str, domain: str) -> Iterator[tuple[int, str]]:
    """The name without each search domain that it ends in, and its number of labels."""
    for suffix in (f".{namespace}.svc.{domain}", f".svc.{domain}", f".{domain}"):
        if name.endswith(suffix):
            stripped = name.removesuffix(suffix)
            yield stripped.count(".") + 1, stripped


def in_full(name: str, namespace: str, domain: str) -> Iterator[str]:
    """The full names that a short one may stand for.

    Of services ``name.namespace.svc.domain``, and of their pods one label more.
    """
    labels = name.count(".") + 1
    if labels == 1:
        yield f"{name}.{namespace}.svc.{domain}"
    elif labels == 2:
        yield f"{name}.svc.{domain}"
        yield f"{name}.{namespace}.svc.{domain}"
    elif labels == 3:
        if name.endswith(".svc"):
            yield f"{name}.{domain}"
        yield f"{name}.svc.{domain}"
    elif labels == 4 and name.endswith(".svc"):
        yield f"{name}.{domain}"


def with_wildcards(name: str) -> Iterator[str]:
    """The name, then the wildcards that cover it, the narrowest first."""
    yield name
    while "." in name:
        name = name.partition(".")[2]
        yield f"*.{name}"
