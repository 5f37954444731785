from __future__ import annotations

from bpf.maps import Maps
from daemon.scope import TABLES, Content, Scope
from tests.daemon.meshes import at, cookie, port_key, within


def test_widening() -> None:
    scope = Scope({cookie(1)})
    assert len(Scope()) == 0
    web, vip, wide = port_key("web", 80), at("10.96.0.1"), within("10.0.0.0/8")
    scope.add(Scope({cookie(1), cookie(2)}, {cookie(1)}, {vip}, {wide}, {web}))
    assert scope == Scope({cookie(1), cookie(2)}, {cookie(1)}, {vip}, {wide}, {web})
    assert len(scope) == 6


def test_everything_that_has_content() -> None:
    content = Content(pods={cookie(1): b""}, ports={port_key("web", 80): b""})
    assert content.whole() == Scope(pods={cookie(1)}, ports={port_key("web", 80)})
    assert content.of("ports") is content.ports


def test_tables_have_the_maps_names() -> None:
    maps = Maps.memory()
    assert [getattr(maps, table).name for table in TABLES] == list(TABLES)
    assert [scope.of(table) for scope in [Scope()] for table in TABLES] == [set()] * 5
