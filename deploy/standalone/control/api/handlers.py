"""The API's requests."""

from __future__ import annotations

import asyncio
import json
import secrets
from collections.abc import Awaitable, Callable

from aiohttp import web

from deploy.standalone.control.ads.gate import Gate
from deploy.standalone.control.ads.server import AdsService
from deploy.standalone.control.api.bodies import (
    BodyError,
    field,
    mapping,
    read_node,
    read_status,
)
from deploy.standalone.control.api.dump import dump
from deploy.standalone.control.api.tables import table
from deploy.standalone.control.applied import Change, apply, delete
from deploy.standalone.control.auth.desk import TokenDesk
from deploy.standalone.control.ca.authority import Authority
from deploy.standalone.control.catalog import APPLIED
from deploy.standalone.control.engine import Engine
from deploy.standalone.control.errors import (
    ApplyError,
    ConflictError,
    ForbiddenError,
    RotationError,
    StateError,
    UnknownError,
)
from deploy.standalone.control.manifests.documents import MAX_SIZE

#: Seconds that a snapshot request may be held open at most.
MAX_WAIT = 60.0

Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class Api:
    """Answers for the engine. epoch: new for each process, so that its end shows."""

    def __init__(
        self,
        engine: Engine,
        ads: AdsService,
        gate: Gate,
        desk: TokenDesk,
        authority: Authority,
    ) -> None:
        self.engine = engine
        self.ads = ads
        self.gate = gate
        self.desk = desk
        self.authority = authority
        self.epoch = secrets.token_hex(8)
        #: In the place of the epoch in the versions of unsettled snapshots.
        self.unsettled = f"{self.epoch}-unsettled"

    def application(self) -> web.Application:
        """The routes."""
        application = web.Application(client_max_size=MAX_SIZE, middlewares=[errors])
        application.add_routes(
            [
                web.get("/v1/healthz", self.healthz),
                web.get("/v1/snapshot", self.snapshot),
                web.get("/v1/get/{kind}", self.get),
                web.get("/v1/dump", self.dump),
                web.put("/v1/pods/{namespace}/{name}/status", self.put_status),
                web.post("/v1/synced", self.synced),
                web.post("/v1/tokens", self.tokens),
                web.get("/v1/roots", self.roots),
                web.post("/v1/roots/rotate", self.rotate),
                web.post("/v1/apply", self.apply),
                web.post("/v1/delete", self.delete),
            ]
        )
        return application

    async def healthz(self, _request: web.Request) -> web.Response:
        """This is served only once files were read and ADS listens."""
        return web.json_response({"status": "ok"})

    async def snapshot(self, request: web.Request) -> web.Response:
        """Pods and services, as soon as they differ from what the caller has.

        settled: whether the nodes have said what runs, so that endpoints count;
        who has an unsettled snapshot gets the first settled one.
        """
        try:
            seconds = min(max(0.0, float(request.query.get("wait", "0"))), MAX_WAIT)
        except ValueError as error:
            raise BodyError(f"wait: {request.query['wait']!r} is no number") from error
        known, _, version = request.query.get("version", "").partition(".")
        if known == self.epoch:
            await self.engine.snapshot_other_than(version, seconds)
        elif known == self.unsettled:
            await self.gate.wait_open(seconds)
        view = self.engine.view
        settled = self.gate.opened.is_set()
        life = self.epoch if settled else self.unsettled
        version = f"{life}.{view.snapshot.version}"
        head = {"version": version, "epoch": self.epoch, "settled": settled}
        text = f"{json.dumps(head)[:-1]},{view.snapshot.body}}}"
        return web.Response(text=text, content_type="application/json")

    async def get(self, request: web.Request) -> web.Response:
        """A table."""
        return web.json_response(table(request.match_info["kind"], self.engine.view))

    async def dump(self, _request: web.Request) -> web.Response:
        """Everything."""
        content = await asyncio.to_thread(
            dump, self.engine.view, self.engine.catalog, self.ads.status()
        )
        content["ca"] = self.authority.status()
        content["refused"] = dict(self.ads.guard.refusals.counts)
        return web.json_response(content)

    async def put_status(self, request: web.Request) -> web.Response:
        """How a pod is."""
        name = (request.match_info["namespace"], request.match_info["name"])
        self.engine.set_status(name, read_status(await request.json()))
        return web.Response(status=204)

    async def synced(self, request: web.Request) -> web.Response:
        """A node has sent all of its pods' statuses."""
        self.gate.synced(read_node(await request.json()))
        return web.Response(status=204)

    async def tokens(self, request: web.Request) -> web.Response:
        """A token: of a node's agent, or of a pod where one is named."""
        body = mapping(await request.json())
        if "pod" in body:
            minted = self.desk.for_pod(
                field(body, "namespace", str), field(body, "pod", str), field(body, "uid", str)
            )
        else:
            minted = self.desk.for_agent(field(body, "node", str))
        return web.json_response({"token": minted.token, "expires": minted.expires})

    async def roots(self, _request: web.Request) -> web.Response:
        """The trusted roots, and where their change is."""
        return web.json_response(self.authority.status())

    async def rotate(self, _request: web.Request) -> web.Response:
        """Begin to change the root."""
        await self.authority.rotate()
        return web.json_response(self.authority.status())

    async def apply(self, request: web.Request) -> web.Response:
        """Create or change objects."""
        return await self.change(request, apply)

    async def delete(self, request: web.Request) -> web.Response:
        """Delete objects."""
        return await self.change(request, delete)

    async def change(self, request: web.Request, change: Change) -> web.Response:
        """Apply or delete a text; ?file= names where it was read from."""
        file = request.query.get("file", APPLIED)
        outcome = await self.engine.change(change, await request.text(), file)
        return web.json_response(
            {
                "results": [
                    {"object": str(key), "result": word} for key, word in outcome.results
                ],
                "notices": [str(notice) for notice in outcome.notices],
            }
        )


@web.middleware
async def errors(request: web.Request, handler: Handler) -> web.StreamResponse:
    """Turn errors into statuses with {"error": "..."}."""
    try:
        return await handler(request)
    except (BodyError, json.JSONDecodeError, UnicodeDecodeError) as error:
        return refusal(400, f"{request.method} {request.path}: {error}")
    except (ConflictError, RotationError) as error:
        return refusal(409, str(error))
    except ApplyError as error:
        return refusal(400, str(error))
    except UnknownError as error:
        return refusal(404, str(error))
    except ForbiddenError as error:
        return refusal(403, str(error))
    except StateError as error:
        return refusal(503, str(error))
    except web.HTTPException as error:
        return refusal(error.status, f"{request.method} {request.path}: {error.reason}")


def refusal(status: int, message: str) -> web.Response:
    """An error's answer."""
    return web.json_response({"error": message}, status=status)
