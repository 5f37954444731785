from __future__ import annotations

import struct

import pytest

from tests.ztunnel_compat.h2.ends import End, frames
from ztunnel_compat.h2.codes import ErrorCode, Role
from ztunnel_compat.h2.errors import ConnectionFault
from ztunnel_compat.h2.settings import PeerSettings, Settings

MIB = 1024 * 1024


def values(payload: bytes) -> dict[int, int]:
    return dict(struct.iter_unpack(">HI", payload))


def payload(*pairs: tuple[int, int]) -> bytes:
    return b"".join(struct.pack(">HI", *pair) for pair in pairs)


def test_what_is_announced_is_ztunnels():
    settings, update = frames(End(Role.CLIENT).take())
    assert values(settings[3]) == {2: 0, 4: 4 * MIB, 5: MIB, 6: 16 * 1024}
    assert int.from_bytes(update[3], "big") == 16 * MIB - 65_535
    settings, update = frames(End(Role.SERVER).take())
    assert values(settings[3]) == {3: 200, 4: 4 * MIB, 5: MIB, 6: 64 * 1024}


def test_extended_connect_is_announced_by_servers_that_take_it():
    settings = Settings(connect_protocol=True)
    assert settings.announced(Role.SERVER)[8] == 1
    assert 8 not in settings.announced(Role.CLIENT)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("stream_window", 65_534),
        ("stream_window", 2**31),
        ("connection_window", 0),
        ("max_frame", 16_383),
        ("max_frame", 2**24),
        ("header_list_limit", 10),
        ("max_streams", 0),
        ("held_limit", -1),
        ("queue_low", 200_000),
        ("queue_high", 300_000),
    ],
)
def test_settings_out_of_range_are_named(name, value):
    with pytest.raises(ValueError, match=f"{name} {value}: must be from"):
        Settings(**{name: value})


@pytest.mark.parametrize(
    ("role", "pair", "code"),
    [
        (Role.SERVER, (2, 2), ErrorCode.PROTOCOL_ERROR),
        (Role.CLIENT, (2, 1), ErrorCode.PROTOCOL_ERROR),
        (Role.CLIENT, (4, 2**31), ErrorCode.FLOW_CONTROL_ERROR),
        (Role.CLIENT, (5, 16_383), ErrorCode.PROTOCOL_ERROR),
        (Role.CLIENT, (5, 2**24), ErrorCode.PROTOCOL_ERROR),
        (Role.CLIENT, (8, 2), ErrorCode.PROTOCOL_ERROR),
    ],
)
def test_values_no_peer_may_send(role, pair, code):
    with pytest.raises(ConnectionFault) as caught:
        PeerSettings().apply(payload(pair), role)
    assert caught.value.code is code


def test_a_length_that_is_no_multiple_of_six():
    with pytest.raises(ConnectionFault, match="SETTINGS of 7 bytes"):
        PeerSettings().apply(bytes(7), Role.CLIENT)


def test_extended_connect_can_not_be_taken_back():
    peer = PeerSettings()
    peer.apply(payload((8, 1)), Role.CLIENT)
    assert peer.connect_protocol
    with pytest.raises(ConnectionFault, match="ENABLE_CONNECT_PROTOCOL 0"):
        peer.apply(payload((8, 0)), Role.CLIENT)


def test_the_number_of_streams_is_assumed_until_it_is_known():
    peer = PeerSettings()
    assert peer.max_streams == 100
    peer.apply(b"", Role.CLIENT)
    assert peer.max_streams == 2**31 - 1
    peer.apply(payload((3, 7), (99, 1)), Role.CLIENT)
    assert peer.max_streams == 7


def test_a_table_size_lowered_and_raised_in_one_frame_is_kept_as_both():
    peer = PeerSettings()
    peer.apply(payload((1, 0), (1, 4096)), Role.CLIENT)
    assert peer.header_tables == [0, 4096]
