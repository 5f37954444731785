"""What the control plane knows, as JSON."""

from __future__ import annotations

from typing import Any

from envoy.config.cluster.v3 import cluster_pb2
from envoy.config.listener.v3 import listener_pb2
from envoy.config.route.v3 import route_pb2
from google.protobuf.json_format import MessageToDict

from deploy.standalone.control.catalog import Catalog
from deploy.standalone.control.view import View
from proto import authorization_pb2
from proto import workload_pb2 as pb

# Decoding an extension's Any needs its type to be registered: the import did it.
MESSAGES = (route_pb2.RouteConfiguration, listener_pb2.Listener, cluster_pb2.Cluster)


def dump(view: View, catalog: Catalog, clients: list[dict[str, Any]]) -> dict[str, Any]:
    """Everything; at thousands of objects this takes a second or so."""
    services = {}
    workloads = {}
    for name, resource in sorted(view.contents.waypoint.items()):
        address = pb.Address.FromString(resource.value)
        shown = MessageToDict(address)
        if address.HasField("service"):
            services[name] = shown["service"]
        else:
            workloads[name] = shown["workload"]
    return {
        "services": services,
        "workloads": workloads,
        "policies": {
            name: MessageToDict(authorization_pb2.Authorization.FromString(resource.value))
            for name, resource in sorted(view.contents.policies.items())
        },
        "objects": [
            {"object": str(key), "file": value.origin.file, "line": value.origin.line}
            for key, value in sorted(catalog.objects().items(), key=lambda item: item[0])
        ],
        "errors": [
            {
                "file": problem.file,
                "line": problem.line,
                "field": problem.field,
                "message": problem.message,
                "level": problem.level,
            }
            for problem in view.problems
        ],
        "clients": clients,
    }
