"""App: builds the FastAPI application of a gateway. It wires, it does not work."""

from __future__ import annotations

import mimetypes
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from fastapi import FastAPI
from fastapi.concurrency import run_in_threadpool
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.openapi.utils import get_openapi
from fastapi.responses import FileResponse, HTMLResponse
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from eventbus import Clock, EventBus
from eventbus.gateway import commands, http, reading, socket
from eventbus.gateway.documents import EVERYWHERE, as_it_is
from eventbus.gateway.extension import Extension
from eventbus.gateway.follower import Followed
from eventbus.gateway.gateway import Gateway
from eventbus.gateway.guard import Guard
from eventbus.gateway.problems import Problem, of_validation
from eventbus.gateway.services import Service
from eventbus.gateway.settings import VERSION, GatewaySettings

if TYPE_CHECKING:
    from starlette.types import Receive, Scope, Send

STATIC = Path(__file__).parent / "static"

_CODES = {404: "not_found", 405: "method_not_allowed"}
_SAYS = {404: "nothing is here: /openapi.json names the routes", 405: "not by this method: see the Allow header"}


def create_gateway(
    bus: EventBus | Followed,
    settings: GatewaySettings | None = None,
    *,
    services: Sequence[Service] = (),
    clock: Clock | None = None,
    extension: Extension | None = None,
) -> FastAPI:
    """An application that shows and steers `bus`, or shows a journal that another process writes; its lifespan starts and ends
    everything, `app.state.gateway` is what it shares.

    A bus that does not run yet is run, drained and shut down with the application; one that runs is left running. `services` are
    called with the bus before it runs, see `--with`. `extension` adds routes, pages and views of the program that the bus is of.
    """
    added = extension or Extension()
    gateway = Gateway(bus, settings or GatewaySettings(), tuple(services), clock=clock, added=added)
    added.views(gateway.sockets.views)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await run_in_threadpool(mimetypes.init)  # the first thread takes its time, and so does the list of file types
        await gateway.start()
        try:
            yield
        finally:
            await gateway.stop()

    app = _Application(
        title="eventbus gateway",
        description="Publish, read and steer an event bus over HTTP; live events come over the WebSocket `/api/v1/ws`.",
        version=VERSION,
        lifespan=lifespan,
        openapi_url=None,  # it is a route of ours, which may ask for a token
        redoc_url=None,
        redirect_slashes=False,
        responses=EVERYWHERE,
        exception_handlers={RequestValidationError: _invalid, HTTPException: _http},
    )
    app.state.gateway = gateway
    for part in (http.health, http.router, reading.router, commands.router, socket.router, *added.routers):
        app.include_router(part)
    if gateway.settings.docs:
        app.add_api_route("/docs", _docs, include_in_schema=False)
    app.router.default = _Pages(app.router.not_found, added)
    if gateway.settings.allow_origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=gateway.settings.allow_origins,
            allow_methods=["GET", "POST", "DELETE"],
            allow_headers=["Authorization", "Content-Type", "Idempotency-Key"],
        )
    app.add_middleware(Guard, gateway=gateway)
    return app


class _Application(FastAPI):
    """Its document names the body of every refusal, and asks for a token only where the gateway does."""

    def openapi(self) -> dict[str, Any]:
        """The OpenAPI document."""
        if self.openapi_schema is None:
            gateway: Gateway = self.state.gateway
            document = get_openapi(
                title=self.title, version=self.version, description=self.description, routes=self.routes
            )
            self.openapi_schema = as_it_is(document, asks=gateway.auth.is_on, metrics_ask=gateway.asks_for_metrics)
        return self.openapi_schema


class _Pages:
    """What no route is for: the files of the dashboard."""

    def __init__(self, not_found: Any, added: Extension) -> None:
        self._files = StaticFiles(directory=STATIC, html=True)
        self._added = {name: StaticFiles(directory=folder) for name, folder in added.pages.items()}
        self._index = added.index
        self._not_found = not_found

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or scope["method"] not in ("GET", "HEAD"):
            await self._not_found(scope, receive, send)
        elif self._index is not None and scope["path"] in ("/", "/index.html"):
            await FileResponse(self._index)(scope, receive, send)
        else:
            first, _, rest = scope["path"].lstrip("/").partition("/")
            if first in self._added:
                await self._added[first]({**scope, "path": f"/{rest}", "raw_path": None}, receive, send)
            else:
                await self._files(scope, receive, send)


async def _docs() -> HTMLResponse:
    return get_swagger_ui_html(openapi_url="/openapi.json", title="eventbus gateway")


async def _invalid(_request: object, error: Exception) -> NoReturn:
    assert isinstance(error, RequestValidationError)
    found = [
        {**one, "loc": one["loc"][1:2]} for one in error.errors()
    ]  # where in the request, and the name that we gave it
    raise of_validation(found[:1], {str(part) for one in found for part in one["loc"]}) from error


async def _http(_request: object, error: Exception) -> NoReturn:
    assert isinstance(error, HTTPException)
    code = _CODES.get(error.status_code, "refused")
    raise Problem(error.status_code, code, _SAYS.get(error.status_code, "refused"), headers=error.headers) from error
