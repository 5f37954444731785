"""PeerAuthentications as the DENY policies that istiod makes of them.

A policy of the root namespace refuses who has no identity, and workloads that are
STRICT name it. Where ports differ, a policy of the workload's own takes its place:
traffic that any DENY matches is refused, so an exception can't stand beside it.
"""

from __future__ import annotations

from google.protobuf.empty_pb2 import Empty

from deploy.standalone.control.authentication import Standing
from deploy.standalone.control.istioapi import ROOT_NAMESPACE, MtlsMode, PeerAuthentication
from proto import authorization_pb2 as pb

#: An underscore is in no Kubernetes name.
STATIC_STRICT = "istio_converted_static_strict"
CONVERTED = "converted_peer_authentication_"


def strict_name() -> str:
    """The name in the stream of what refuses everybody without an identity."""
    return f"{ROOT_NAMESPACE}/{STATIC_STRICT}"


def converted_name(own: PeerAuthentication) -> str:
    """The name in the stream of what one with ports of its own became."""
    return f"{own.namespace}/{CONVERTED}{own.name}"


def names_of(standing: Standing) -> tuple[str, ...]:
    """What a workload names in its list of policies."""
    if standing.own is not None and standing.exceptions:
        return (converted_name(standing.own),)
    return (strict_name(),) if standing.mode is MtlsMode.STRICT else ()


def static_strict() -> pb.Authorization:
    """Refuses everybody without an identity, on workloads that name it."""
    return denial(ROOT_NAMESPACE, STATIC_STRICT, [pb.Rule(clauses=[clause(nobody())])])


def converted(own: PeerAuthentication, standing: Standing) -> pb.Authorization:
    """Refuses who has no identity on some ports only."""
    ports = sorted(standing.exceptions)
    if standing.mode is MtlsMode.STRICT:
        others = [clause(pb.Match(not_destination_ports=[port])) for port in ports]
        rules = [pb.Rule(clauses=[*others, clause(nobody())])]
    else:
        rules = [pb.Rule(clauses=[clause(nobody(port))]) for port in ports]
    return denial(own.namespace, f"{CONVERTED}{own.name}", rules)


def denial(namespace: str, name: str, rules: list[pb.Rule]) -> pb.Authorization:
    """A policy that denies, on workloads that name it."""
    return pb.Authorization(
        name=name,
        namespace=namespace,
        scope=pb.WORKLOAD_SELECTOR,
        action=pb.DENY,
        rules=rules,
    )


def clause(match: pb.Match) -> pb.Clause:
    """A clause of one match."""
    return pb.Clause(matches=[match])


def nobody(*ports: int) -> pb.Match:
    """Who has no identity, at these ports (none: at any)."""
    anyone = pb.StringMatch(presence=Empty())
    return pb.Match(not_principals=[anyone], destination_ports=ports)
