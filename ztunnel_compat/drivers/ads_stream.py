"""One delta-ADS stream over gRPC: protobuf on its wire, xds values on our side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any, Literal

import grpc
import grpc.aio
from envoy.config.core.v3 import base_pb2
from envoy.service.discovery.v3 import discovery_pb2
from google.protobuf.message import DecodeError
from grpc._cython import cygrpc  # type: ignore[attr-defined]

from ztunnel_compat.drivers.login import Login
from ztunnel_compat.errors import XdsError
from ztunnel_compat.runtime.settings import ProxySettings
from ztunnel_compat.xds import Request

Role = Literal["ztunnel", "waypoint"]
METHOD = "/envoy.service.discovery.v3.AggregatedDiscoveryService/DeltaAggregatedResources"
MAX_MESSAGE = 200 << 20
OPTIONS = [
    ("grpc.max_receive_message_length", MAX_MESSAGE),
    ("grpc.max_send_message_length", MAX_MESSAGE),
    # A server that is gone without a word is noticed within 40 s.
    ("grpc.keepalive_time_ms", 30_000),
    ("grpc.keepalive_timeout_ms", 10_000),
    ("grpc.http2.max_pings_without_data", 0),
    # Retrying is the mesh client's: neither gRPC's own delays nor what it
    # remembers of an earlier channel to the same server may add to it.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.min_reconnect_backoff_ms", 5_000),
    ("grpc.enable_http_proxy", 0),
]


@dataclass(frozen=True, slots=True)
class NodeInfo:
    """Who asks: what istiod wants to know of a proxy.

    ip: of the proxy, textual.
    """

    role: Role
    ip: str
    pod: str
    namespace: str
    node_name: str
    cluster_id: str = "Kubernetes"

    @classmethod
    def of(cls, role: Role, settings: ProxySettings) -> NodeInfo:
        """What a process's settings say of it."""
        return cls(
            role=role,
            ip=settings.instance_ip,
            pod=settings.pod_name,
            namespace=settings.pod_namespace,
            node_name=settings.node_name,
            cluster_id=settings.cluster_id,
        )

    @property
    def id(self) -> str:
        """The node id, ``role~ip~pod.namespace~namespace.svc.cluster.local``."""
        domain = f"{self.namespace}.svc.cluster.local"
        return f"{self.role}~{self.ip}~{self.pod}.{self.namespace}~{domain}"

    @property
    def metadata(self) -> dict[str, str]:
        """The metadata that istiod reads, all strings."""
        return {
            "NAME": self.pod,
            "NAMESPACE": self.namespace,
            "INSTANCE_IPS": self.ip,
            "NODE_NAME": self.node_name,
            "CLUSTER_ID": self.cluster_id,
        }


class StreamEndedError(Exception):
    """A stream ended, or never began; the message says how.

    failed: whether by an error, not by the server's closing it in good order.
    """

    def __init__(self, message: str, *, failed: bool) -> None:
        super().__init__(message)
        self.failed = failed


class AdsStream:
    """An open stream of DeltaAggregatedResources."""

    def __init__(self, call: Any, node: NodeInfo) -> None:
        self.call = call
        self.node: NodeInfo | None = node
        #: gRPC takes one message at a time.
        self.turn = asyncio.Lock()

    async def send(self, request: Request) -> None:
        """Send a request; raises StreamEndedError."""
        message = discovery_pb2.DeltaDiscoveryRequest(
            type_url=request.type_url,
            initial_resource_versions=request.initial_versions,
            response_nonce=request.nonce,
            resource_names_subscribe=request.subscribe,
            resource_names_unsubscribe=request.unsubscribe,
        )
        if self.node is not None:
            # The server remembers it for the rest of the stream.
            message.node.CopyFrom(node_message(self.node))
            self.node = None
        if request.error:
            message.error_detail.code = grpc.StatusCode.INVALID_ARGUMENT.value[0]
            message.error_detail.message = request.error
        try:
            async with self.turn:
                await write(self.call, message.SerializeToString())
        except (grpc.aio.AioRpcError, cygrpc.InternalError) as error:
            raise await self.ended() from error

    async def receive(self) -> tuple[Any, int]:
        """The next DeltaDiscoveryResponse and its size in bytes.

        Raises StreamEndedError, or XdsError when it can't be read.
        """
        try:
            data = await self.call.read()
        except grpc.aio.AioRpcError as error:
            raise await self.ended() from error
        if data is grpc.aio.EOF:
            raise await self.ended()
        try:
            return discovery_pb2.DeltaDiscoveryResponse.FromString(data), len(data)
        except DecodeError as error:
            raise XdsError(f"no DeltaDiscoveryResponse: {error}") from error

    async def ended(self) -> StreamEndedError:
        """How the stream ended."""
        code = await self.call.code()
        details = await self.call.details() or "closed by the server"
        return StreamEndedError(
            f"{code.name}: {details}", failed=code is not grpc.StatusCode.OK
        )


@asynccontextmanager
async def open_stream(server: Login, node: NodeInfo) -> AsyncIterator[AdsStream]:
    """Connect to a server and open a stream; raises LoginError.

    That nobody answers shows on the first send or receive.
    """
    metadata = await server.metadata()
    async with await server.channel(OPTIONS) as channel:
        # Bytes both ways: a push's size is known, and its decoding ours.
        call: Any = channel.stream_stream(METHOD)(metadata=metadata)
        try:
            yield AdsStream(call, node)
        finally:
            call.cancel()


async def write(call: Any, data: bytes) -> None:
    """Write to a stream; raises AioRpcError, InternalError.

    What ``call.write`` does, but for one thing: on a stream that the server has just
    ended (for a bad token, say) that would put "Internal error from Core" in place of
    the server's own words.
    """
    await call.wait_for_connection()
    await call._cython_call.send_serialized_message(data)


def node_message(node: NodeInfo) -> Any:
    """The protobuf form of a NodeInfo."""
    message = base_pb2.Node(id=node.id)
    message.metadata.update(node.metadata)
    return message
