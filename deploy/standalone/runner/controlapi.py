"""The control API as the runner uses it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import aiohttp

from deploy.standalone.runner.errors import ControlError
from deploy.standalone.runner.spec import Snapshot, parse_snapshot
from deploy.standalone.runner.status import PodStatus
from deploy.standalone.runner.tokens import Token
from ztunnel_compat.runtime.backoff import Backoff

logger = logging.getLogger(__name__)

#: Seconds that a snapshot request is held open when nothing changes.
POLL = 30.0
TIMEOUT = aiohttp.ClientTimeout(total=10.0)
POLL_TIMEOUT = aiohttp.ClientTimeout(total=POLL + 10.0)
#: On one machine: who was away is back within tens of milliseconds.
RETRY_FROM, RETRY_TO = 0.05, 1.0


class ControlApi:
    """HTTP over the control process's unix socket. Every method raises ControlError."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.session = aiohttp.ClientSession(connector=aiohttp.UnixConnector(str(path)))

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.session.close()

    async def healthy(self) -> bool:
        """Whether the files were read and ADS is served."""
        try:
            await self.request("GET", "/v1/healthz")
        except ControlError:
            return False
        return True

    async def snapshot(self, version: str, wait: float = POLL) -> Snapshot:
        """The current snapshot, once it differs from version or wait seconds passed."""
        query = {"version": version, "wait": f"{wait:g}"} if version else {}
        _, body = await self.request("GET", "/v1/snapshot", params=query, timeout=POLL_TIMEOUT)
        try:
            return parse_snapshot(body)
        except (KeyError, TypeError, ValueError, AttributeError) as error:
            raise ControlError(
                f"{self.path}: a snapshot that can't be read: {error!r}"
            ) from error

    async def put_status(self, status: PodStatus) -> bool:
        """Tell how a pod is; False when the control plane doesn't know the pod."""
        path = f"/v1/pods/{status.namespace}/{status.name}/status"
        found, _ = await self.request("PUT", path, json=status.body(), missing_ok=True)
        return found != 404

    async def synced(self, node: str) -> None:
        """Tell that the statuses of all pods of a node were sent."""
        await self.request("POST", "/v1/synced", json={"node": node})

    async def token(self, asked: Mapping[str, str]) -> Token:
        """A token of a node's agent (node), or of a pod (namespace, pod, uid)."""
        _, body = await self.request("POST", "/v1/tokens", json=dict(asked))
        try:
            return Token(str(body["token"]), float(body["expires"]))
        except (KeyError, TypeError, ValueError) as error:
            raise ControlError(f"{self.path}: a token that can't be read: {error!r}") from error

    async def request(
        self, method: str, path: str, *, missing_ok: bool = False, **options: Any
    ) -> tuple[int, Any]:
        """Status and JSON body of an answer."""
        options.setdefault("timeout", TIMEOUT)
        try:
            async with self.session.request(
                method, f"http://tandem{path}", **options
            ) as answer:
                if answer.status >= 400 and not (missing_ok and answer.status == 404):
                    text = (await answer.text())[:500]
                    raise ControlError(f"{method} {path}: {answer.status} {text}")
                is_json = answer.content_type == "application/json"
                return answer.status, await answer.json() if is_json else None
        except (aiohttp.ClientError, TimeoutError, ValueError, OSError) as error:
            raise ControlError(f"{method} {path} at {self.path}: {error!r}") from error


class Watch:
    """Follows the snapshots.

    A control process that has just started knows nothing: an empty snapshot from
    it must not stop our pods. So each new epoch counts only once it is healthy.
    """

    def __init__(self, api: ControlApi, on_epoch: Callable[[], None]) -> None:
        self.api = api
        self.on_epoch = on_epoch
        self.epoch: str | None = None
        self.version = ""
        self.trouble = ""
        self.backoff = Backoff(RETRY_FROM, RETRY_TO)

    async def next(self) -> Snapshot:
        """The next snapshot that differs from the last; waits as long as it takes.

        on_epoch is called before the first one of each control process.
        """
        while True:
            try:
                snapshot = await self.api.snapshot(self.version)
                if snapshot.epoch != self.epoch:
                    if not await self.api.healthy():
                        raise ControlError(f"{self.api.path} is starting")
                    snapshot = await self.api.snapshot("")
            except ControlError as error:
                if str(error) != self.trouble:  # not a line for each attempt
                    self.trouble = str(error)
                    logger.warning("control plane: %s", error)
                # The version of a control process that may be gone.
                self.version = ""
                await asyncio.sleep(self.backoff.next())
                continue
            self.backoff.reset()
            self.trouble = ""
            if snapshot.epoch != self.epoch:
                self.epoch = snapshot.epoch
                self.on_epoch()
            elif snapshot.version == self.version:
                continue
            self.version = snapshot.version
            return snapshot
