"""Routes' faults, in Envoy's words: each in its route, by a filter that does nothing else."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from envoy.extensions.filters.http.fault.v3.fault_pb2 import HTTPFault
from envoy.type.v3.percent_pb2 import FractionalPercent
from google.protobuf.duration_pb2 import Duration

from deploy.standalone.control.routing import Fault
from deploy.standalone.control.translate.attached import HttpPort
from deploy.standalone.control.translate.sight import Found, Sight, http_filter
from deploy.standalone.control.world import Name

FAULT_FILTER = "envoy.filters.http.fault"


def find_faults(sight: Sight) -> Found:
    """The filter, for the ports of which a route has a fault."""
    return {
        key: {port: [idle_filter()] for port in faulty}
        for key, ports in sight.attachments.http.items()
        if (faulty := [port for port, attached in ports.items() if has_faults(attached)])
    }


def complete(rows: Found, routes: Mapping[Name, Mapping[int, Any]]) -> None:
    """Add the filter to ports' rows, where EnvoyFilters gave their routes faults."""
    for key, ports in routes.items():
        for port, configuration in ports.items():
            row = rows[key][port]
            there = any(each.name == FAULT_FILTER for each in row)
            if not there and carries_fault(configuration):
                row.append(idle_filter())


def carries_fault(configuration: Any) -> bool:
    """Whether a RouteConfiguration has a fault anywhere."""
    hosts = configuration.virtual_hosts
    parts = [configuration, *hosts, *(route for host in hosts for route in host.routes)]
    return any(FAULT_FILTER in part.typed_per_filter_config for part in parts)


def idle_filter() -> Any:
    """A filter without a fault of its own."""
    return http_filter(FAULT_FILTER, HTTPFault())


def has_faults(attached: HttpPort) -> bool:
    """Whether a route of a port has a fault."""
    rules = [rule.rule for group in attached.groups for rule in group.rules]
    return any(rule.fault is not None for rule in rules)


def http_fault(fault: Fault) -> Any:
    """A route's fault."""
    message = HTTPFault()
    if fault.delay:
        length = Duration()
        length.FromNanoseconds(round(fault.delay * 1e9))
        message.delay.fixed_delay.CopyFrom(length)
        message.delay.percentage.CopyFrom(part(fault.delayed))
    if fault.grpc is not None:
        message.abort.grpc_status = fault.grpc
    elif fault.status:
        message.abort.http_status = fault.status
    if message.HasField("abort"):
        message.abort.percentage.CopyFrom(part(fault.aborted))
    return message


def part(share: int) -> Any:
    """A share of a million."""
    return FractionalPercent(numerator=share, denominator=FractionalPercent.MILLION)
