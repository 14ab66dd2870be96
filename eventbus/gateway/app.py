"""App: builds the FastAPI application of a gateway. It wires, it does not work."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from fastapi import FastAPI
from fastapi.staticfiles import StaticFiles

from eventbus import Clock, EventBus
from eventbus.gateway import http, socket
from eventbus.gateway.gateway import Gateway
from eventbus.gateway.settings import GatewaySettings

STATIC = Path(__file__).parent / "static"


def create_gateway(bus: EventBus, settings: GatewaySettings | None = None, *, clock: Clock | None = None) -> FastAPI:
    """An application that shows and steers `bus`; its lifespan starts and ends everything, `app.state.gateway` is what it shares.

    A bus that does not run yet is run, drained and shut down with the application; one that runs is left running.
    """
    gateway = Gateway(bus, settings or GatewaySettings(), clock=clock)

    @asynccontextmanager
    async def lifespan(_app: FastAPI) -> AsyncIterator[None]:
        await gateway.start()
        try:
            yield
        finally:
            await gateway.stop()

    app = FastAPI(
        title="eventbus gateway",
        version=version("quantum-trader"),
        lifespan=lifespan,
        docs_url="/docs" if gateway.settings.docs else None,
        redoc_url=None,
    )
    app.state.gateway = gateway
    app.include_router(http.health)
    app.include_router(http.router)
    app.include_router(socket.router)
    app.mount("/", StaticFiles(directory=STATIC, html=True), name="static")
    return app
