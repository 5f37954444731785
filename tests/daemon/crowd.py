"""Large meshes as a control plane sends them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from proto import workload_pb2
from tests.ztunnel_compat.ads_server import resource
from ztunnel_compat.names import service_key
from ztunnel_compat.xds import ADDRESS_TYPE

#: The first virtual and the first endpoint's address.
FIRST_VIP, FIRST_ENDPOINT = (10 << 24) + (96 << 16), (10 << 24) + (240 << 16)


def vip(number: int) -> bytes:
    return (FIRST_VIP + number).to_bytes(4, "big")


def endpoint_address(number: int) -> bytes:
    return (FIRST_ENDPOINT + number).to_bytes(4, "big")


def service_name(number: int) -> str:
    namespace = f"ns{number % 100}"
    return service_key(namespace, f"svc{number}.{namespace}.svc.cluster.local")


def endpoint_name(number: int, of: int) -> str:
    return f"Kubernetes//Pod/ns{of % 100}/svc{of}-7d9c5b8f6d-{number:05x}"


def service(number: int) -> Any:
    """The resource of one service: port 80 leads to 8080."""
    key = service_name(number)
    namespace, _, hostname = key.partition("/")
    message = workload_pb2.Service(
        name=f"svc{number}",
        namespace=namespace,
        hostname=hostname,
        addresses=[workload_pb2.NetworkAddress(address=vip(number))],
        ports=[workload_pb2.Port(service_port=80, target_port=8080)],
    )
    return resource(key, "1", ADDRESS_TYPE, workload_pb2.Address(service=message))


def endpoint(number: int, of: int, *, healthy: bool = True) -> Any:
    """The resource of one endpoint of a service, with all that istiod says of a pod."""
    uid = endpoint_name(number, of)
    _, _, namespace, name = uid.rsplit("/", 3)
    message = workload_pb2.Workload(
        uid=uid,
        name=name,
        namespace=namespace,
        addresses=[endpoint_address(number)],
        trust_domain="cluster.local",
        service_account=f"svc{of}",
        node=f"node-{number % 100}",
        canonical_name=f"svc{of}",
        canonical_revision="v1",
        workload_name=f"svc{of}",
        cluster_id="Kubernetes",
        services={
            service_name(of): workload_pb2.PortList(
                ports=[workload_pb2.Port(service_port=80, target_port=8080)]
            )
        },
        status=workload_pb2.HEALTHY if healthy else workload_pb2.UNHEALTHY,
        locality=workload_pb2.Locality(region="region-1", zone=f"zone-{number % 3}"),
    )
    return resource(uid, str(healthy), ADDRESS_TYPE, workload_pb2.Address(workload=message))


def mesh(services: int, each: int) -> Iterator[Any]:
    """Services and their endpoints, numbered through."""
    for number in range(services):
        yield service(number)
        for index in range(each):
            yield endpoint(number * each + index, number)


def cpu_seconds(pid: int) -> float:
    """CPU time that a process has used."""
    ticks = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[11:13]
    return sum(map(int, ticks)) / 100


def resident_mb(pid: int) -> float:
    """Memory that a process has in RAM."""
    line = next(
        line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if "VmRSS" in line
    )
    return int(line.split()[1]) / 1024
