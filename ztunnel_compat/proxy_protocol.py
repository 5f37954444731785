"""PROXY protocol version 2, as ztunnel speaks it to an application's tunnel port.

A header goes before the first byte of a connection (haproxy's proxy-protocol.txt,
section 2.2): who the client is, and what it asked for. ztunnel adds the client's
SPIFFE ID as TLV 0xD0 (ztunnel: src/proxy/inbound.rs, application tunnels).

    12 bytes signature · version and command · family · length · addresses · TLVs
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from ztunnel_compat.errors import IdentityError, ProxyError
from ztunnel_compat.identity import Identity

SIGNATURE: Final = b"\r\n\r\n\x00\r\nQUIT\n"
#: The client's SPIFFE ID.
TLV_IDENTITY: Final = 0xD0
#: A header is 16 bytes and what they announce: addresses, a SPIFFE ID (2,048 bytes at
#: most by its specification) and whatever else a tunnel may tell.
MAX_HEADER: Final = 4096

VERSION_PROXY: Final = 0x21
TCP4: Final = 0x11
TCP6: Final = 0x21
MAPPED: Final = bytes(10) + b"\xff\xff"

_FIXED: Final = struct.Struct("!12sBBH")
_TLV: Final = struct.Struct("!BH")
#: By family: length of an address, and both addresses with both ports.
_ADDRESSES: Final = {TCP4: struct.Struct("!4s4sHH"), TCP6: struct.Struct("!16s16sHH")}


@dataclass(frozen=True, slots=True)
class ProxyHeader:
    """Who connected, and what for; addresses are packed, 4 or 16 bytes, never mapped.

    destination: what the client asked for, not where it was led. identity: proven by
    the client's certificate, or None.
    """

    source: bytes
    source_port: int
    destination: bytes
    destination_port: int
    identity: Identity | None = None


def encode_proxy(header: ProxyHeader) -> bytes:
    """A header's bytes; raises ValueError when an identity is too long to be sent.

    Where the addresses are of two families, the IPv4 one is sent as v4-mapped.
    """
    source, destination = header.source, header.destination
    family = TCP4
    if len(source) == 16 or len(destination) == 16:
        family = TCP6
        source, destination = to_16_bytes(source), to_16_bytes(destination)
    body = _ADDRESSES[family].pack(
        source, destination, header.source_port, header.destination_port
    )
    if header.identity is not None:
        text = str(header.identity).encode()
        body += _TLV.pack(TLV_IDENTITY, len(text)) + text
    if _FIXED.size + len(body) > MAX_HEADER:
        raise ValueError(f"{header.identity}: too long for a PROXY header")
    return _FIXED.pack(SIGNATURE, VERSION_PROXY, family, len(body)) + body


def parse_proxy(data: bytes) -> tuple[ProxyHeader, int] | None:
    """The header that a connection begins with, and how many bytes it takes.

    data: what has come so far. None: more has to come; ``MAX_HEADER`` bytes are
    always enough. Raises ProxyError as soon as it is no header, or none that says
    who and what for: version 1, LOCAL, other families than TCP's, TLVs that don't add up.
    """
    if data[:12] != SIGNATURE[: len(data)]:
        raise ProxyError(f"begins with {data[:12]!r}, not with a PROXY v2 signature")
    if len(data) < _FIXED.size:
        return None
    _, command, family, length = _FIXED.unpack_from(data)
    if command != VERSION_PROXY:
        raise ProxyError(f"version and command 0x{command:02x}, not 0x{VERSION_PROXY:02x}")
    addresses = _ADDRESSES.get(family)
    if addresses is None:
        raise ProxyError(f"family 0x{family:02x}, not TCP over IPv4 or IPv6")
    end = _FIXED.size + length
    if end > MAX_HEADER:
        raise ProxyError(f"a header of {end} bytes: {MAX_HEADER} are taken at most")
    if length < addresses.size:
        raise ProxyError(f"{length} bytes of addresses, not {addresses.size}")
    if len(data) < end:
        return None
    source, destination, source_port, destination_port = addresses.unpack_from(
        data, _FIXED.size
    )
    identity = parse_identity(data[_FIXED.size + addresses.size : end])
    header = ProxyHeader(
        unmapped(source), source_port, unmapped(destination), destination_port, identity
    )
    return header, end


def parse_identity(tlvs: bytes) -> Identity | None:
    """The identity among TLVs, if there is one; raises ProxyError."""
    found: Identity | None = None
    at = 0
    while at < len(tlvs):
        if at + _TLV.size > len(tlvs):
            raise ProxyError("a TLV that is cut off")
        kind, length = _TLV.unpack_from(tlvs, at)
        at += _TLV.size
        value = tlvs[at : at + length]
        if len(value) < length:
            raise ProxyError(f"TLV 0x{kind:02x} of {length} bytes, of which {len(value)} came")
        at += length
        if kind != TLV_IDENTITY:
            continue
        if found is not None:
            raise ProxyError("two identities")
        try:
            found = Identity.parse(value.decode("ascii"))
        except (UnicodeDecodeError, IdentityError) as error:
            raise ProxyError(f"TLV 0xd0: {error}") from None
    return found


def to_16_bytes(packed: bytes) -> bytes:
    """An address as IPv6, v4-mapped where it isn't."""
    return packed if len(packed) == 16 else MAPPED + packed


def unmapped(packed: bytes) -> bytes:
    """An address as what it is: 4 bytes where it was v4-mapped."""
    return packed[12:] if packed.startswith(MAPPED) and len(packed) == 16 else packed
