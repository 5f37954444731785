"""The enrolment protocol's messages as values (istio.workload.zds).

The node agent connects and says hello; the other side sends requests, each of
which is answered by an ack before the next. A network namespace's descriptor
rides on every AddWorkload and on nothing else.
"""

from __future__ import annotations

from dataclasses import dataclass

from google.protobuf.message import DecodeError

from proto import zds_pb2
from ztunnel_compat.errors import ZdsError

#: ztunnel and istio-cni read into buffers of this size: nothing may be longer.
MAX_MESSAGE = 1024
#: What an ack's error may take of that, in bytes.
MAX_ERROR = 1000


@dataclass(frozen=True, slots=True)
class AddWorkload:
    """A pod to enrol; its network namespace comes as a descriptor beside it.

    uid: the pod's, opaque; not the xDS name of its workload.
    """

    uid: str
    name: str
    namespace: str
    service_account: str


@dataclass(frozen=True, slots=True)
class KeepWorkload:
    """A pod that is still there, but whose namespace can't be given again."""

    uid: str


@dataclass(frozen=True, slots=True)
class DelWorkload:
    """A pod that is gone, or no longer of the mesh."""

    uid: str


@dataclass(frozen=True, slots=True)
class SnapshotSent:
    """All there is has been sent: what was not among it is gone."""


Request = AddWorkload | KeepWorkload | DelWorkload | SnapshotSent


def encode_hello() -> bytes:
    """The node agent's first message."""
    return zds_pb2.ZdsHello(version=zds_pb2.V1).SerializeToString()


def decode_hello(data: bytes) -> None:
    """See that a message is a hello of version 1; raises ZdsError."""
    hello = zds_pb2.ZdsHello()
    try:
        hello.ParseFromString(data)
    except DecodeError as error:
        raise ZdsError(f"no ZdsHello: {error}") from error
    if hello.version != zds_pb2.V1:
        raise ZdsError(f"ZdsHello of version {hello.version}: only 1 is spoken")


def encode_request(request: Request) -> bytes:
    """A request as sent to the node agent; raises ZdsError when it is too long."""
    message = zds_pb2.WorkloadRequest()
    match request:
        case AddWorkload():
            message.add.uid = request.uid
            message.add.workload_info.name = request.name
            message.add.workload_info.namespace = request.namespace
            message.add.workload_info.service_account = request.service_account
        case KeepWorkload():
            message.keep.uid = request.uid
        case DelWorkload():
            getattr(message, "del").uid = request.uid
        case SnapshotSent():
            message.snapshot_sent.SetInParent()
    data = message.SerializeToString()
    if len(data) > MAX_MESSAGE:
        raise ZdsError(f"{request}: {len(data)} bytes, at most {MAX_MESSAGE} can be sent")
    return data


def decode_request(data: bytes, descriptors: int) -> Request:
    """A request, given how many descriptors came with it; raises ZdsError."""
    message = zds_pb2.WorkloadRequest()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise ZdsError(f"no WorkloadRequest: {error}") from error
    request: Request
    match message.WhichOneof("payload"):
        case "add":
            info = message.add.workload_info
            request = AddWorkload(
                message.add.uid, info.name, info.namespace, info.service_account
            )
        case "keep":
            request = KeepWorkload(message.keep.uid)
        case "del":
            request = DelWorkload(getattr(message, "del").uid)
        case "snapshot_sent":
            request = SnapshotSent()
        case _:
            raise ZdsError("a WorkloadRequest of no known kind")
    if not isinstance(request, SnapshotSent) and not request.uid:
        raise ZdsError(f"{type(request).__name__} without uid")
    if isinstance(request, AddWorkload) and not (request.name and request.namespace):
        raise ZdsError(f"AddWorkload {request.uid}: name or namespace is missing")
    expected = 1 if isinstance(request, AddWorkload) else 0
    if descriptors != expected:
        raise ZdsError(f"{request} with {descriptors} descriptors, not {expected}")
    return request


def encode_ack(error: str = "") -> bytes:
    """The node agent's answer to a request; error: why it failed, cut to fit."""
    message = zds_pb2.WorkloadResponse()
    message.ack.error = error.encode(errors="replace")[:MAX_ERROR].decode(errors="ignore")
    return message.SerializeToString()


def decode_ack(data: bytes) -> str:
    """The error that an ack reports, empty when all went well; raises ZdsError."""
    message = zds_pb2.WorkloadResponse()
    try:
        message.ParseFromString(data)
    except DecodeError as error:
        raise ZdsError(f"no WorkloadResponse: {error}") from error
    if message.WhichOneof("payload") != "ack":
        raise ZdsError("a WorkloadResponse without an ack")
    return message.ack.error
