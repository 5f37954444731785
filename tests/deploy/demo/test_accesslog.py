from __future__ import annotations

from pathlib import Path

from deploy.demo.accesslog import fields_of, find, size

LINE = (
    "2026-01-01T00:00:00.000000Z\tinfo\taccess\tconnection complete\tsrc.addr=10.0.0.1:4000"
    ' src.workload="traffic" src.identity="spiffe://cluster.local/ns/a/sa/b"'
    ' dst.addr=10.0.0.2:15008 direction="inbound" bytes_sent=5 error="it said \\"no\\" twice"\n'
)


def test_fields() -> None:
    found = fields_of(LINE)
    assert found["src.addr"] == "10.0.0.1:4000"
    assert found["src.workload"] == "traffic"
    assert found["src.identity"] == "spiffe://cluster.local/ns/a/sa/b"
    assert found["error"] == 'it said \\"no\\" twice'.rstrip('"')
    assert fields_of("2026-01-01T00:00:00Z\tinfo\tdaemon.app\tready=yes") == {}


def test_the_last_line_that_has_all_fields_is_found(tmp_path: Path) -> None:
    log = tmp_path / "log"
    assert find(log, 0, {}) is None
    assert size(log) == 0
    log.write_text(LINE + LINE.replace("10.0.0.1:4000", "10.0.0.1:4001"))
    wanted = {"src.workload": "traffic", "direction": "inbound"}
    found = find(log, 0, wanted)
    assert found is not None
    assert found["src.addr"] == "10.0.0.1:4001"
    assert find(log, 0, wanted | {"direction": "outbound"}) is None
    assert find(log, size(log), wanted) is None
