"""Policies for tests, in few words, and at random."""

from __future__ import annotations

import ipaddress
import random
from typing import Any

from ztunnel_compat.identity import Identity
from ztunnel_compat.policy import (
    Action,
    Match,
    Policy,
    PolicyScope,
    Range,
    Rule,
    ServiceAccountMatch,
    StringMatch,
    StringRule,
)
from ztunnel_compat.rbac import Connection

PRESENT = StringMatch(StringRule.PRESENCE)


def exact(text: str) -> StringMatch:
    return StringMatch(StringRule.EXACT, text)


def prefix(text: str) -> StringMatch:
    return StringMatch(StringRule.PREFIX, text)


def suffix(text: str) -> StringMatch:
    return StringMatch(StringRule.SUFFIX, text)


def cidr(text: str) -> Range:
    network = ipaddress.ip_network(text, strict=False)
    return Range(network.network_address.packed, network.prefixlen)


def policy(
    name: str,
    *rules: Rule,
    action: Action = Action.ALLOW,
    namespace: str = "app",
    scope: PolicyScope = PolicyScope.NAMESPACE,
    dry_run: bool = False,
) -> Policy:
    return Policy(name, namespace, scope, action, rules, dry_run)


def when(**conditions: Any) -> Rule:
    """A rule of one clause with one match."""
    return ((Match(**conditions),),)


def connection(
    identity: str | None = "spiffe://cluster.local/ns/app/sa/web",
    source: str = "10.0.0.1",
    destination: str = "10.0.0.2",
    port: int = 80,
) -> Connection:
    return Connection(
        None if identity is None else Identity.parse(identity),
        ipaddress.ip_address(source).packed,
        ipaddress.ip_address(destination).packed,
        port,
    )


class RandomPolicies:
    """Policies and connections that share few values, so that they meet."""

    NAMESPACES = ("app", "app2", "web", "prod")
    ACCOUNTS = ("default", "web", "web-2")
    DOMAINS = ("cluster.local", "td")
    RANGES = (
        "10.0.0.0/8", "10.1.0.0/16", "10.1.2.0/24", "10.1.2.3/32", "0.0.0.0/0", "10.1.2.4/30",
        "::/0", "fd00::/8", "fd00:1::/32", "fd00:1::3/128", "::/1", "::ffff:0:0/80",
    )  # fmt: skip
    ADDRESSES = (
        "10.0.0.1", "10.1.2.3", "10.1.2.6", "10.1.9.9", "192.168.1.1",
        "fd00::1", "fd00:1::3", "fd00:1::4", "2001:db8::1", "::5",
    )  # fmt: skip
    PORTS = (80, 443, 8080, 0, 65535)

    def __init__(self, seed: int) -> None:
        self.random = random.Random(seed)

    def identities(self) -> list[Identity]:
        return [
            Identity(d, n, s)
            for d in self.DOMAINS
            for n in self.NAMESPACES
            for s in self.ACCOUNTS
        ]

    def chance(self, share: float) -> bool:
        return self.random.random() < share

    def string(self, texts: tuple[str, ...]) -> StringMatch:
        text = self.random.choice(texts)
        cut = self.random.randrange(len(text) + 1)
        kind = self.random.randrange(5)
        if kind == 0:
            return prefix(text[:cut])
        if kind == 1:
            return suffix(text[cut:])
        if kind == 2:
            return PRESENT
        return exact(text)

    def some(self, make: Any) -> tuple[Any, ...]:
        return tuple(make() for _ in range(self.random.choice((0, 0, 0, 0, 1, 1, 2, 3))))

    def match(self) -> Match:
        principals = tuple(str(i).removeprefix("spiffe://") for i in self.identities())

        def namespace() -> StringMatch:
            return self.string(self.NAMESPACES)

        def principal() -> StringMatch:
            return self.string(principals)

        def account() -> ServiceAccountMatch:
            return ServiceAccountMatch(
                self.random.choice(self.NAMESPACES), self.random.choice(self.ACCOUNTS)
            )

        def network() -> Range:
            return cidr(self.random.choice(self.RANGES))

        def port() -> int:
            return self.random.choice(self.PORTS)

        makers = {
            "namespaces": namespace,
            "principals": principal,
            "service_accounts": account,
            "source_ips": network,
            "destination_ips": network,
            "destination_ports": port,
        }
        fields: dict[str, Any] = {}
        for name, make in makers.items():
            if self.chance(0.4):
                fields[name] = self.some(make)
            if self.chance(0.2):
                fields[f"not_{name}"] = self.some(make)
        return Match(**fields)

    def rule(self) -> Rule:
        return tuple(
            tuple(self.match() for _ in range(self.random.choice((0, 1, 1, 1, 2, 3))))
            for _ in range(self.random.choice((0, 1, 1, 2, 2, 3)))
        )

    def policies(self, most: int = 5) -> tuple[Policy, ...]:
        made = [
            policy(
                f"p{number}",
                *(self.rule() for _ in range(self.random.choice((0, 1, 1, 2, 3)))),
                action=self.random.choice((Action.ALLOW, Action.DENY)),
                dry_run=self.chance(0.25),
            )
            for number in range(self.random.randrange(1, most + 1))
        ]
        return tuple(sorted(made, key=lambda p: p.key))

    def connection(self) -> Connection:
        identity = None if self.chance(0.2) else self.random.choice(self.identities())
        source = ipaddress.ip_address(self.random.choice(self.ADDRESSES))
        destination = ipaddress.ip_address(
            self.random.choice(
                [a for a in self.ADDRESSES if (":" in a) == (source.version == 6)]
            )
        )
        return Connection(
            identity, source.packed, destination.packed, self.random.choice(self.PORTS)
        )
