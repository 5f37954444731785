"""The services that an object's targetRefs mean."""

from __future__ import annotations

from collections.abc import Iterable

from deploy.standalone.control.extensionapi import TargetRef
from deploy.standalone.control.problems import Problem
from deploy.standalone.control.translate.frontends import Frontend, Frontends
from deploy.standalone.control.world import Name, World


def meant_by(
    targets: Iterable[TargetRef],
    namespace: str,
    world: World,
    frontends: Frontends,
    problems: list[Problem],
) -> list[Frontend]:
    """Each service once; what means none is added to problems.

    A Service or ServiceEntry means itself; a Gateway all that it serves; a GatewayClass
    all that Gateways of it serve.
    """
    found: dict[tuple[str, str], Frontend] = {}
    for target in targets:
        here = one_target(target, namespace, world, frontends, problems)
        found.update({frontend.key: frontend for frontend in here})
    return list(found.values())


def gateways_meant(targets: Iterable[TargetRef], namespace: str, world: World) -> list[Name]:
    """The Gateways themselves that are meant: what holds at them for workloads too."""
    kinds = {(target.kind, target.name) for target in targets}
    return [
        name
        for name, gateway in sorted(world.gateways.items())
        if (name[0] == namespace and ("Gateway", name[1]) in kinds)
        or ("GatewayClass", gateway.gateway_class) in kinds
    ]


def one_target(
    target: TargetRef,
    namespace: str,
    world: World,
    frontends: Frontends,
    problems: list[Problem],
) -> list[Frontend]:
    """The services that one reference means."""
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
