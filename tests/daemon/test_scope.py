from __future__ import annotations

from bpf.layout import AddressKey
from daemon.scope import Scope
from tests.daemon.meshes import port_key


def test_widening() -> None:
    scope = Scope({1})
    assert len(Scope()) == 0
    scope.add(Scope({1, 2}, {AddressKey(bytes(16))}, {port_key("web", 80)}))
    assert scope == Scope({1, 2}, {AddressKey(bytes(16))}, {port_key("web", 80)})
    assert len(scope) == 4
