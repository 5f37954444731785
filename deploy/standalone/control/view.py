"""Everything that is served, as one value, and what it is derived from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from deploy.standalone.config import TRUST_DOMAIN
from deploy.standalone.control.allocate import Allocations, Ranges, ServiceName
from deploy.standalone.control.authentication import Authentications
from deploy.standalone.control.enrolled import Served
from deploy.standalone.control.extensionapi import ConfigPatch
from deploy.standalone.control.hosts import Hosts
from deploy.standalone.control.objects import IpAddress
from deploy.standalone.control.outsides import Names, OutsideView
from deploy.standalone.control.pods import PodName
from deploy.standalone.control.problems import Problem
from deploy.standalone.control.rollout import Revisions, Statuses
from deploy.standalone.control.schedule import Nodes, Places
from deploy.standalone.control.snapshot import Endpoint, Snapshot
from deploy.standalone.control.translate.attached import Attachments
from deploy.standalone.control.translate.destinations import Destinations
from deploy.standalone.control.translate.policies import Translated
from deploy.standalone.control.translate.resources import Contents
from deploy.standalone.control.translate.workloads import PodView
from deploy.standalone.control.waypoints import WaypointSettings
from deploy.standalone.control.world import Name, World


@dataclass(frozen=True, slots=True)
class Settings:
    """What stays the same as long as the process runs.

    members: the addresses of processes on each node that are in no pod.
    """

    nodes: tuple[str, ...]
    ranges: Ranges
    waypoints: WaypointSettings
    trust_domain: str = TRUST_DOMAIN
    members: Mapping[str, frozenset[IpAddress]] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Carried:
    """What a step hands to the next one, and what a restart finds on disk.

    places: the nodes that pods are on; waypoints: those that have been ready once,
    and are used since; vips: of the hosts that were given some; names: what host
    names were last found to be; authentications: the oldest first; members: what each
    node's agent serves, as it said last.
    """

    addresses: Mapping[ServiceName, tuple[IpAddress, ...]] = field(default_factory=dict)
    revisions: Revisions = field(default_factory=dict)
    places: Places = field(default_factory=dict)
    waypoints: frozenset[Name] = frozenset()
    vips: Mapping[Name, tuple[IpAddress, ...]] = field(default_factory=dict)
    names: Names = field(default_factory=dict)
    authentications: tuple[Name, ...] = ()
    members: Served = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class View:
    """Everything that is served."""

    world: World
    nodes: Nodes
    allocations: Allocations
    attachments: Attachments
    filters: Mapping[Name, Mapping[int, Any]]
    patched_routes: Mapping[Name, Mapping[int, Any]]
    patches: Mapping[Name, tuple[ConfigPatch, ...]]
    access: Mapping[Name, Mapping[int, tuple[Any, ...]]]
    held: Mapping[Name, tuple[str, ...]]
    destinations: Destinations
    hosts: Hosts
    pods: Mapping[PodName, PodView]
    outsides: Mapping[str, OutsideView]
    policies: Mapping[Name, Translated]
    authentications: Authentications
    endpoints: Mapping[Name, tuple[Endpoint, ...]]
    host_endpoints: Mapping[Name, tuple[Endpoint, ...]]
    service_waypoints: Mapping[Name, Name | None]
    host_waypoints: Mapping[Name, Name | None]
    wanted_names: frozenset[str]
    statuses: Statuses
    contents: Contents
    snapshot: Snapshot
    problems: tuple[Problem, ...]
    carried: Carried
