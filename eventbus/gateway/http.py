"""HTTP: the routes. Each asks the gateway, and answers with values; what goes wrong is a problem body."""

from __future__ import annotations

from importlib.metadata import version
from typing import Annotated, Any

from fastapi import APIRouter, Depends
from fastapi.responses import JSONResponse

from eventbus.gateway.gateway import Gateway, gateway_of

health = APIRouter()
router = APIRouter(prefix="/api/v1")

Here = Annotated[Gateway, Depends(gateway_of)]


@health.get("/healthz")
async def alive() -> dict[str, str]:
    """Is the process alive?"""
    return {"status": "ok"}


@health.get("/readyz")
async def ready(gateway: Here) -> JSONResponse:
    """Does it take events? 503 while it does not."""
    if gateway.is_stopping or not gateway.bus.is_running:
        return JSONResponse({"status": "not ok"}, 503)
    return JSONResponse({"status": "ok"})


@router.get("/status")
async def status(gateway: Here) -> dict[str, Any]:
    """Where the log stands, what can be done here, and whether the bus is halted."""
    return {
        "capabilities": sorted(gateway.bus.capabilities),
        "halted": gateway.bus.is_halted,
        "reason": gateway.bus.halt_reason,
        "version": version("quantum-trader"),
    }
