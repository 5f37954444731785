"""The services that an object's targetRefs mean."""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

from deploy.standalone.control.extensionapi import TargetRef
from deploy.standalone.control.problems import Problem
from deploy.standalone.control.translate.frontends import Frontend
from deploy.standalone.control.translate.sight import Sight
from deploy.standalone.control.world import Name


class Targeted(NamedTuple):
    """What targetRefs mean, each once.

    frontends: services; gateways: by the name of each Gateway that is meant, the key of
    its own service: what is attached to it holds for workloads' own addresses too.
    """

    frontends: tuple[Frontend, ...]
    gateways: dict[Name, Name]


def find_targeted(targets: tuple[TargetRef, ...], namespace: str, sight: Sight) -> Targeted:
    """What an object of a namespace is attached to; targets that mean nothing become
    problems.

    A Service or ServiceEntry means itself; a Gateway all that it serves; a GatewayClass
    all that Gateways of it serve.
    """
    found: dict[Name, Frontend] = {}
    for target in targets:
        here = one_target(target, namespace, sight)
        found.update({frontend.key: frontend for frontend in here})
    return Targeted(tuple(found.values()), gateways_meant(targets, namespace, sight))


def gateways_meant(
    targets: Iterable[TargetRef], namespace: str, sight: Sight
) -> dict[Name, Name]:
    """The Gateways themselves that are meant, with their services' keys."""
    world = sight.world
    kinds = {(target.kind, target.name) for target in targets}
    return {
        name: (world.services[name].namespace, world.services[name].hostname)
        for name, gateway in sorted(world.gateways.items())
        if (name[0] == namespace and ("Gateway", name[1]) in kinds)
        or ("GatewayClass", gateway.gateway_class) in kinds
    }


def one_target(target: TargetRef, namespace: str, sight: Sight) -> list[Frontend]:
    """The services that one reference means."""
    world, frontends, problems = sight.world, sight.frontends, sight.problems
    every = frontends.by_key.values()
    match target.kind:
        case "Gateway":
            if (namespace, target.name) not in world.gateways:
                problems.append(missing(target, namespace))
            return [each for each in every if each.waypoint == (namespace, target.name)]
        case "GatewayClass":
            of_class = {
                name
                for name, gateway in world.gateways.items()
                if gateway.gateway_class == target.name
            }
            if not of_class:
                problems.append(
                    target.origin.notice(
                        f"{target.path}.name", f"there is no Gateway of class {target.name}"
                    )
                )
            return [each for each in every if each.waypoint in of_class]
    named = frontends.by_object.get((target.kind, namespace, target.name), ())
    if not named:
        problems.append(missing(target, namespace))
    elif named[0].waypoint is None:
        problems.append(
            target.origin.notice(
                target.path,
                f"no waypoint serves {named[0]}: label it, or its namespace, "
                "istio.io/use-waypoint",
            )
        )
    return list(named)


def missing(target: TargetRef, namespace: str) -> Problem:
    """What is meant isn't there."""
    return target.origin.error(
        f"{target.path}.name", f"there is no {target.kind} {namespace}/{target.name}"
    )
