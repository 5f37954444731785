"""Resources of the stream: named, with a hash of their bytes as version."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.any_pb2 import Any as AnyMessage
from google.protobuf.struct_pb2 import Struct
from xxhash import xxh64_intdigest

from proto import authorization_pb2
from proto import workload_pb2 as pb

#: The name that a workload's labels ride under, as a Struct of texts.
LABELS = "tandem.io/labels"
ADDRESS_TYPE = "type.googleapis.com/istio.workload.Address"
AUTHORIZATION_TYPE = "type.googleapis.com/istio.security.Authorization"
TYPES = (ADDRESS_TYPE, AUTHORIZATION_TYPE)


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource, ready to be sent. message: a discovery Resource, never changed.

    version: ours; policies are sent without one, as istiod does. waypoint: where
    connections to it go first, by its Service's namespace and name.
    """

    name: str
    version: str
    message: Any = field(compare=False, repr=False)
    waypoint: tuple[str, str] | None = None

    @property
    def value(self) -> bytes:
        """The serialised Address or policy."""
        content: bytes = self.message.resource.value
        return content


#: By name, in no order.
Content = Mapping[str, Resource]


@dataclass(frozen=True, slots=True)
class Contents:
    """All Addresses, in the two forms that they are sent in, and all policies."""

    ztunnel: Content = field(default_factory=dict)
    waypoint: Content = field(default_factory=dict)
    policies: Content = field(default_factory=dict)


def pack(name: str, address: pb.Address) -> Resource:
    """Make a resource; equal addresses get equal versions, on every run."""
    value = address.SerializeToString(deterministic=True)
    version = f"{xxh64_intdigest(value):x}"
    message = discovery_pb2.Resource(
        name=name, version=version, resource=AnyMessage(type_url=ADDRESS_TYPE, value=value)
    )
    return Resource(name, version, message, waypoint_of(address))


def waypoint_of(address: pb.Address) -> tuple[str, str] | None:
    """Namespace and name of the waypoint's Service that an Address names."""
    holder = address.service if address.HasField("service") else address.workload
    if not holder.HasField("waypoint"):
        return None
    named = holder.waypoint.hostname
    return named.namespace, named.hostname.partition(".")[0]


def pack_policy(name: str, policy: authorization_pb2.Authorization) -> Resource:
    """Make a policy's resource. A client that connects again gets it again."""
    value = policy.SerializeToString(deterministic=True)
    message = discovery_pb2.Resource(
        name=name, resource=AnyMessage(type_url=AUTHORIZATION_TYPE, value=value)
    )
    return Resource(name, f"{xxh64_intdigest(value):x}", message)


def pack_service(
    name: str, address: pb.Address, configurations: Mapping[str, Any]
) -> tuple[Resource, Resource]:
    """A service as daemons get it, and as waypoints do: with its route configurations.

    configurations: by name. Daemons have no use for them, and an edited route
    must not push anything to them.
    """
    plain = pack(name, address)
    if not configurations:
        return plain, plain
    full = pb.Address()
    full.CopyFrom(address)
    for each, configuration in configurations.items():
        extension = full.service.extensions.add(name=each)
        extension.config.Pack(configuration, deterministic=True)
    return plain, pack(name, full)


def pack_workload(
    name: str, address: pb.Address, labels: Mapping[str, str]
) -> tuple[Resource, Resource]:
    """A workload as daemons get it, and as waypoints do: with its labels.

    Subsets and routes by source need them; daemons don't, and an edited label that
    selects nothing must not push anything to them.
    """
    plain = pack(name, address)
    if not labels:
        return plain, plain
    full = pb.Address()
    full.CopyFrom(address)
    content = Struct()
    content.update(dict(labels))
    extension = full.workload.extensions.add(name=LABELS)
    extension.config.Pack(content, deterministic=True)
    return plain, pack(name, full)


def changed(before: Content, after: Content) -> set[str]:
    """Names of resources that are new, different or gone."""
    names = {
        name
        for name, resource in after.items()
        if (old := before.get(name)) is not resource and old != resource
    }
    return names | (before.keys() - after.keys())
