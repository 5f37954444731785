from __future__ import annotations

from ztunnel_compat.runtime.memory import keep_buffers


def test_the_c_library_takes_it() -> None:
    assert keep_buffers()
