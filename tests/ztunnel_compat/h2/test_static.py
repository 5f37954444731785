from __future__ import annotations

from hpack.table import HeaderTable

from ztunnel_compat.h2.static import FIELD_INDEX, FIRST_DYNAMIC, NAME_INDEX, STATIC


def test_the_table_is_hpacks():
    assert STATIC[1:] == tuple(HeaderTable.STATIC_TABLE)
    assert FIRST_DYNAMIC == 62


def test_a_name_has_its_lowest_index():
    assert (NAME_INDEX[b":method"], FIELD_INDEX[b":method", b"POST"]) == (2, 3)
    assert b"" not in NAME_INDEX
