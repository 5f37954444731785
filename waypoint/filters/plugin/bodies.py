"""A request's body, and a response, on their way through a plug-in."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections import deque
from dataclasses import replace
from typing import TYPE_CHECKING

from waypoint.errors import PluginError
from waypoint.filters.intakes import LENGTH, Intakes
from waypoint.filters.plugin.calls import Said
from waypoint.filters.plugin.heads import (
    changed_response,
    said_fields,
)
from waypoint.filters.plugin.session import Session
from waypoint.filters.taps import Taps
from waypoint.layers.headers import CHUNKED, Field
from waypoint.layers.response import ResponseHead, altered, response_of
from waypoint.messages import Response
from waypoint.routing.edits import without

if TYPE_CHECKING:
    from waypoint.exchange import Exchange

FAILED = b"a plug-in failed\n"
DETAILS = "plugin_failed"

#: A head and whether it is all; content and whether it is the last; or trailers.
Item = tuple[ResponseHead, bool] | tuple[bytes, bool] | list[Field]


class Passing(ABC):
    """Works through items in their order, one at a time, as the host answers."""

    def __init__(self, exchange: Exchange, session: Session) -> None:
        self.exchange = exchange
        self.session = session
        self.items: deque[Item] = deque()
        self.task: asyncio.Task[None] | None = None

    def put(self, item: Item) -> None:
        """Take an item; the sender waits until it is through."""
        self.items.append(item)
        self.hold()
        if self.task is None:
            self.task = self.exchange.worker.tasks.spawn(self.work(), "plug-in")

    async def work(self) -> None:
        """Handle what there is."""
        while self.items and not self.exchange.over:
            item = self.items.popleft()
            try:
                await self.handle(item)
            except PluginError:
                self.failed()
        self.task = None
        if not self.exchange.over:
            self.release()

    def failed(self) -> None:
        """The plug-in failed, and is not to be bypassed."""
        exchange = self.exchange
        if exchange.over:
            return
        if exchange.status:
            exchange.cut("UAEX", DETAILS)
        else:
            exchange.answer(500, "UAEX", DETAILS, FAILED)

    def close(self) -> None:
        """The exchange is over."""
        self.items.clear()
        if self.task is not None:
            self.task.cancel()
        self.session.close()

    async def body(self, of: str, data: bytes, *, last: bool) -> bytes:
        """A part of a body as it goes on. Raises PluginError."""
        if self.session.bypassed:
            return data
        try:
            return await self.session.body(of, data, last=last)
        except PluginError:
            if self.session.bypassed:
                return data
            raise

    @abstractmethod
    async def handle(self, item: Item) -> None:
        """Deal with an item. Raises PluginError."""

    @abstractmethod
    def hold(self) -> None:
        """Have the sender wait."""

    @abstractmethod
    def release(self) -> None:
        """Have it go on."""


class BodyIntake(Passing):
    """A request's body."""

    def __init__(self, intakes: Intakes, session: Session) -> None:
        super().__init__(intakes.exchange, session)
        self.intakes = intakes

    def data(self, data: bytes, *, end: bool) -> None:
        """Content."""
        if data or end:
            self.put((data, end))

    def trailers(self, fields: list[Field]) -> None:
        """Trailers."""
        self.put(fields)

    async def handle(self, item: Item) -> None:
        """Pass on what the plug-in makes of it."""
        if isinstance(item, list):
            rest = await self.body("request", b"", last=True)
            if rest:
                self.intakes.pass_data(self, rest, end=False)
            self.intakes.pass_trailers(self, item)
            return
        data, end = item
        assert isinstance(data, bytes)
        made = await self.body("request", data, last=end)
        if made or end:
            self.intakes.pass_data(self, made, end=end)

    def hold(self) -> None:
        """The client waits."""
        self.intakes.hold(self)

    def release(self) -> None:
        """The client goes on."""
        self.intakes.release(self)


class ResponseTap(Passing):
    """A response. asks: on_response; shows: its body to on_body."""

    def __init__(self, taps: Taps, session: Session, *, asks: bool, shows: bool) -> None:
        super().__init__(taps.exchange, session)
        self.taps = taps
        self.asks = asks
        self.shows = shows

    def head(self, head: ResponseHead, *, end: bool) -> None:
        """The head."""
        if self.asks or self.items or self.task is not None:
            self.put((head, end))
        else:
            self.pass_head(head, end=end)

    def data(self, data: bytes, *, end: bool) -> None:
        """Content."""
        if self.shows or self.items or self.task is not None:
            self.put((data, end))
        else:
            self.taps.pass_data(self, data, end=end)

    def trailers(self, fields: list[Field]) -> None:
        """Trailers."""
        if self.shows or self.items or self.task is not None:
            self.put(fields)
        else:
            self.taps.pass_trailers(self, fields)

    async def handle(self, item: Item) -> None:
        """Pass on what the plug-in makes of it."""
        if isinstance(item, list):
            rest = await self.body("response", b"", last=True) if self.shows else b""
            if rest:
                self.taps.pass_data(self, rest, end=False)
            self.taps.pass_trailers(self, item)
            return
        first, end = item
        if isinstance(first, ResponseHead):
            self.pass_head(await self.asked(first), end=end)
            return
        made = await self.body("response", first, last=end) if self.shows else first
        if made or end:
            self.taps.pass_data(self, made, end=end)

    async def asked(self, head: ResponseHead) -> ResponseHead:
        """The head as on_response leaves it. Raises PluginError."""
        if self.session.bypassed:
            return head
        response = response_of(head)
        told = {"status": response.status, "headers": said_fields(response.fields)}
        try:
            said, _ = await self.session.ask("response", told)
            changed = self.checked(response_of(head), said)
        except PluginError:
            if self.session.bypassed:
                return head
            raise
        return head if changed == response else altered(head, changed)

    def checked(self, response: Response, said: Said) -> Response:
        """What on_response made of it. Raises PluginError, which was told and counted."""
        try:
            return changed_response(response, said)
        except PluginError as error:
            self.session.failed(error)
            raise

    def pass_head(self, head: ResponseHead, *, end: bool) -> None:
        """Pass a head on, without a length where the body may change."""
        if self.shows and not end:
            response = response_of(head)
            fields = without(response.fields, LENGTH)
            head = replace(altered(head, response._replace(fields=fields)), body=CHUNKED)
        self.taps.pass_head(self, head, end=end)

    def hold(self) -> None:
        """The endpoint waits."""
        self.taps.hold(self)

    def release(self) -> None:
        """The endpoint goes on, when nobody else is behind."""
        self.taps.release(self)
