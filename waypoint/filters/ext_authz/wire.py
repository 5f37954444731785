"""Questions and rulings as messages of envoy.service.auth.v3."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from envoy.config.core.v3.base_pb2 import HeaderValueOption
from envoy.service.auth.v3.external_auth_pb2 import CheckRequest, CheckResponse
from google.protobuf.json_format import MessageToDict

from waypoint.errors import InquiryError
from waypoint.filters.ext_authz.check import Check
from waypoint.filters.ext_authz.settings import Allowed, Change, Denied, Edit, Ruling
from waypoint.filters.unary import read_message

METHOD = b"/envoy.service.auth.v3.Authorization/Check"
FORBIDDEN = 403
EDITS = {
    HeaderValueOption.APPEND_IF_EXISTS_OR_ADD: Edit.ADD,
    HeaderValueOption.ADD_IF_ABSENT: Edit.ADD_IF_ABSENT,
    HeaderValueOption.OVERWRITE_IF_EXISTS_OR_ADD: Edit.SET,
    HeaderValueOption.OVERWRITE_IF_EXISTS: Edit.SET_IF_PRESENT,
}


def encoded(check: Check, *, as_bytes: bool, raw_headers: bool) -> bytes:
    """A CheckRequest. as_bytes: with the body as bytes; raw_headers: each field apart."""
    message = CheckRequest()
    attributes, facts = message.attributes, check.facts
    for peer, address in (
        (attributes.source, facts.remote),
        (attributes.destination, facts.local),
    ):
        if address is not None:
            peer.address.socket_address.address = address[0]
            peer.address.socket_address.port_value = address[1]
    attributes.source.principal = facts.identity
    attributes.request.time.FromNanoseconds(int(check.time * 1e9))
    http = attributes.request.http
    http.id = check.identifier
    http.method = text(check.method)
    http.path = text(check.path)
    http.host = text(check.authority)
    http.scheme = text(check.scheme)
    http.protocol = facts.protocol
    http.size = check.size
    if raw_headers:
        for name, value in check.headers:
            http.header_map.headers.add(key=text(name), raw_value=value)
    else:
        joined: dict[bytes, bytes] = {}
        for name, value in check.headers:
            joined[name] = joined[name] + b"," + value if name in joined else value
        for name, value in joined.items():
            http.headers[text(name)] = text(value)
    if check.body is not None:
        if as_bytes:
            http.raw_body = check.body
        else:
            http.body = text(check.body)
    attributes.context_extensions.update(check.context)
    for namespace, notes in check.notes.items():
        attributes.metadata_context.filter_metadata[namespace].update(notes)
    content: bytes = message.SerializeToString()
    return content


def text(value: bytes) -> str:
    """Bytes as a text; what is no UTF-8 in them is replaced (protobuf's texts are)."""
    return value.decode("utf-8", "replace")


def decoded(value: bytes) -> Ruling:
    """The ruling of a CheckResponse; raises InquiryError where it is none."""
    message = read_message(CheckResponse, value)
    if message.WhichOneof("http_response") == "error_response":
        return denial(message.error_response, error=True)
    if message.status.code:
        return denial(message.denied_response)
    ok, notes = message.ok_response, None
    if message.HasField("dynamic_metadata"):
        notes = MessageToDict(message.dynamic_metadata)
    return Allowed(
        headers=tuple(change(option, Edit.APPEND) for option in ok.headers),
        remove=frozenset(name.lower().encode() for name in ok.headers_to_remove),
        response=changes(ok.response_headers_to_add),
        query_set=tuple((each.key, each.value) for each in ok.query_parameters_to_set),
        query_remove=tuple(ok.query_parameters_to_remove),
        notes=notes,
    )


def denial(message: Any, *, error: bool = False) -> Denied:
    """A DeniedHttpResponse; raises InquiryError for a status that can't be given."""
    status = message.status.code or FORBIDDEN
    if not 200 <= status < 600:
        raise InquiryError(f"a denial has the status {status}, which is not in 200…599")
    # Envoy drops what is to be appended to a denial, a second cookie, say.
    headers = tuple(change(option, Edit.ADD) for option in message.headers)
    return Denied(status, headers, message.body.encode(), error)


def change(option: HeaderValueOption, adding: Edit) -> Change:
    """A field that takes the place of others unless its ``append`` says otherwise."""
    return (adding if option.append.value else Edit.SET, *field_of(option))


def changes(options: Iterable[HeaderValueOption]) -> tuple[Change, ...]:
    """Fields that do as their ``append``, or else their ``append_action``, says."""
    found: list[Change] = []
    for option in options:
        edit = EDITS.get(option.append_action, Edit.ADD)
        if option.HasField("append"):
            edit = Edit.ADD if option.append.value else Edit.SET
        found.append((edit, *field_of(option)))
    return tuple(found)


def field_of(option: HeaderValueOption) -> tuple[bytes, bytes]:
    """A field's name, in lower case, and its value."""
    header = option.header
    return header.key.lower().encode(), header.raw_value or header.value.encode()
