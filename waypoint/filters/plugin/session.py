"""One request's way through one plug-in."""

from __future__ import annotations

from collections.abc import Callable

from waypoint.errors import PluginError
from waypoint.filters.plugin.calls import Answer, Said
from waypoint.filters.plugin.version import Version

#: Bytes of a body that a plug-in is shown at a time.
PIECE = 64 * 1024


class Session:
    """Asks a version about one request. head: as it is told; keep: there will be more
    calls than the first; left: is told when there won't.

    bypassed: it failed, and the request goes on without it. life: of the process that
    knows this request, 0: none does.
    """

    __slots__ = (
        "bypassed", "count", "head", "keep", "left", "life", "number", "version",
    )  # fmt: skip

    def __init__(
        self,
        version: Version,
        head: Said,
        *,
        keep: bool,
        left: Callable[[Version], None],
        count: Callable[[str], None],
    ) -> None:
        self.version = version
        self.head = head
        self.keep = keep
        self.left: Callable[[Version], None] | None = left
        self.count = count
        self.bypassed = False
        self.life = 0
        version.numbers += 1
        version.sessions += 1
        self.number = version.numbers

    async def ask(self, do: str, said: Said, data: bytes = b"") -> Answer:
        """Have the filter called. Raises PluginError, which was told and counted."""
        host = self.version.host
        fresh = not self.life
        call = {"do": do, "session": self.number, "keep": self.keep, **said}
        try:
            if not fresh and self.life != host.life:
                raise PluginError("its process ended, with what it knew of the request")
            if fresh:
                call["request"] = self.head
            answer = await host.ask(call, data, fresh=fresh)
        except PluginError as error:
            self.failed(error)
            raise
        if self.keep:
            self.life = host.life
        return answer

    def failed(self, error: PluginError) -> None:
        """Tell and count a failure."""
        self.version.failed(error)
        name = self.version.spec.name
        self.count(f"{name}: failed")
        if self.version.spec.fail_open:
            self.bypassed = True
            self.count(f"{name}: bypassed")

    async def body(self, of: str, data: bytes, *, last: bool) -> bytes:
        """What on_body makes of a part of a body. Raises PluginError."""
        made = []
        for at in range(0, len(data) or 1, PIECE):
            piece = data[at : at + PIECE]
            ends = last and at + PIECE >= len(data)
            said, content = await self.ask("body", {"of": of, "last": ends}, piece)
            made.append(piece if said.get("same") else content)
        return b"".join(made)

    def close(self) -> None:
        """The request is over."""
        if self.left is None:
            return
        if self.keep:
            self.version.host.tell({"do": "end", "session": self.number})
        left, self.left = self.left, None
        left(self.version)
