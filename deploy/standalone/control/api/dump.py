"""What the control plane knows, as JSON."""

from __future__ import annotations

from typing import Any

from envoy.config.route.v3 import route_pb2
from google.protobuf.json_format import MessageToDict

from deploy.standalone.control.catalog import Catalog
from deploy.standalone.control.derive import View
from proto import workload_pb2 as pb

# Decoding an extension's Any needs its type to be registered: the import did it.
ROUTE_CONFIGURATION = route_pb2.RouteConfiguration.DESCRIPTOR.full_name


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
