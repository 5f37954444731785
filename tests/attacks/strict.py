"""HTTP/1.1 as the next hop reads it: whatever it is sent has to be sound."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

REQUEST_LINE = re.compile(rb"[!#-'*+\-.^-z|~0-9A-Z]+ [!-~]+ HTTP/1\.1")
STATUS_LINE = re.compile(rb"HTTP/1\.1 [1-9][0-9][0-9] [\t -~\x80-\xff]*")
LINE = re.compile(rb"[!#-'*+\-.^-z|~0-9A-Z]+:[\t -~\x80-\xff]*")


@dataclass
class Strict:
    """Reads HTTP/1.1 as its next hop would, and insists that it is sound.

    count: whole heads of final messages; over: what comes now has no framing.
    """

    first: re.Pattern[bytes]
    data: bytes = b""
    count: int = 0
    over: bool = False
    methods: list[bytes] = field(default_factory=list)

    def feed(self, data: bytes) -> int:
        """Take bytes; how many messages they completed."""
        self.data += data
        whole = 0
        while not self.over and self.message():
            whole += 1
        if self.over:
            self.data = b""
        return whole

    def message(self) -> bool:
        head, found, rest = self.data.partition(b"\r\n\r\n")
        if not found:
            return False
        start, *lines = head.split(b"\r\n")
        assert self.first.fullmatch(start), start
        fields: dict[bytes, list[bytes]] = {}
        for line in lines:
            assert LINE.fullmatch(line), line
            name, _, value = line.partition(b":")
            fields.setdefault(name.lower(), []).append(value.strip())
        lengths = fields.get(b"content-length", [])
        chunked = b"transfer-encoding" in fields
        assert len(lengths) + chunked <= 1, head
        is_response = self.first is STATUS_LINE
        status = start.split(b" ")[1] if is_response else b""
        if status[:1] == b"1" and status != b"101":
            self.data = rest
            return True
        method = start.split(b" ")[0]
        if is_response:
            method = self.methods[self.count] if self.count < len(self.methods) else b""
            bodiless = method == b"HEAD" or status in {b"204", b"304"}
        else:
            bodiless = False
        if chunked and not bodiless:
            assert [v.lower() for v in fields[b"transfer-encoding"]] == [b"chunked"]
            end = end_of_chunks(rest)
        elif lengths and not bodiless:
            assert lengths[0].isdigit()
            size = int(lengths[0])
            end = size if len(rest) >= size else None
        elif (is_response and not bodiless) or b"upgrade" in fields:
            self.over = True
            end = 0
        else:
            end = 0
        if end is None:
            return False
        if not is_response:
            assert len(fields[b"host"]) == 1
            self.methods.append(method)
        self.count += 1
        self.data = rest[end:]
        return True


def end_of_chunks(data: bytes) -> int | None:
    """Where chunks end, or None when they don't yet."""
    position = 0
    while True:
        end = data.find(b"\r\n", position)
        if end < 0:
            return None
        size = int(re.fullmatch(rb"([0-9A-Fa-f]+)(;[^\r\n]*)?", data[position:end])[1], 16)  # type: ignore[index]
        position = end + 2
        if not size:
            break
        if len(data) < position + size + 2:
            return None
        assert data[position + size : position + size + 2] == b"\r\n"
        position += size + 2
    if data.startswith(b"\r\n", position):
        return position + 2
    end = data.find(b"\r\n\r\n", position)
    return None if end < 0 else end + 4
