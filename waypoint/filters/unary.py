"""Unary gRPC calls of the waypoint's own, over HTTP/2."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeVar

from google.protobuf.message import DecodeError, Message

from waypoint.errors import InquiryError
from waypoint.filters.inquiry import Answered, inquire
from waypoint.messages import Field, Request

if TYPE_CHECKING:
    from waypoint.filters.passage import Passage

M = TypeVar("M", bound=Message)
#: A message's prefix: whether it is compressed, and its length.
PREFIX = struct.Struct(">BL")


@dataclass(frozen=True, slots=True)
class GrpcService:
    """Where calls go. authority: what they are for; metadata: further fields of each;
    timeout: seconds until there must be an answer.
    """

    cluster: str
    authority: bytes
    timeout: float
    metadata: tuple[Field, ...] = ()


async def call(passage: Passage, service: GrpcService, path: bytes, message: bytes) -> bytes:
    """Call a method; the answer's message. Raises InquiryError."""
    exchange = passage.exchange
    cluster = exchange.plan.target.clusters[service.cluster]
    if cluster.http2 is False:
        raise InquiryError(
            f"{service.cluster} doesn't say that it speaks gRPC or HTTP/2: name its port grpc"
        )
    fields = (
        (b"te", b"trailers"),
        (b"content-type", b"application/grpc"),
        (b"grpc-timeout", b"%dm" % max(1, round(service.timeout * 1000))),
        *service.metadata,
    )
    request = Request(b"POST", b"http", service.authority, path, fields)
    answer = await inquire(
        passage.worker,
        exchange.down.caller,
        cluster,
        request,
        PREFIX.pack(0, len(message)) + message,
        seconds=service.timeout,
        http2=True,
    )
    return message_of(answer)


def read_message(kind: type[M], value: bytes) -> M:
    """An answer's message; raises InquiryError where it is another."""
    message = kind()
    try:
        message.ParseFromString(value)
    except DecodeError as error:
        raise InquiryError(f"the answer is no {kind.DESCRIPTOR.name}: {error}") from error
    return message


def message_of(answer: Answered) -> bytes:
    """The message of a unary call's answer; raises InquiryError where there is none."""
    if answer.status != 200:
        raise InquiryError(f"the call was answered with status {answer.status}")
    told = dict(answer.fields) | dict(answer.trailers)
    code = told.get(b"grpc-status")
    if code != b"0":
        said = told.get(b"grpc-message", b"").decode("utf-8", "replace")
        raise InquiryError(f"the call failed: grpc-status {(code or b'none').decode()} {said}")
    if len(answer.body) < PREFIX.size:
        raise InquiryError("the call was answered without a message")
    compressed, length = PREFIX.unpack_from(answer.body)
    message = answer.body[PREFIX.size :]
    if compressed or length != len(message):
        raise InquiryError("the call's answer is compressed, or no single message")
    return message
