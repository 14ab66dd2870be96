"""HTTP: the routes of the gateway itself: is it well, where its log stands, what types there are, what it counted.

Each asks the gateway, and answers with values; whatever is raised becomes a problem body before it leaves. Documents are made in a
thread: that of all types takes longer than the loop has.
"""

from __future__ import annotations

from fastapi import APIRouter, Depends
from fastapi.concurrency import run_in_threadpool
from fastapi.requests import Request
from fastapi.responses import JSONResponse, Response

from eventbus.gateway.access import Here, Reader, scraper
from eventbus.gateway.bodies import Health, Status, Types
from eventbus.gateway.documents import Answers, answers, asyncapi, tagged, types_of
from eventbus.gateway.settings import VERSION

health = APIRouter(tags=["health"])
router = APIRouter()

_PAGE: Answers = {200: {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus text."}}


@health.get("/healthz")
async def alive() -> Health:
    """Is the process alive?"""
    return Health(status="ok")


@health.get("/readyz", response_model=Health, responses={503: {"model": Health, "description": "Not now."}})
async def ready(gateway: Here) -> JSONResponse:
    """Does it take events: the dispatcher runs, the journal can be used? 503 while it does not."""
    is_ready = await gateway.is_ready()
    return JSONResponse({"status": "ok" if is_ready else "not ok"}, 200 if is_ready else 503)


@health.get(
    "/metrics",
    dependencies=[Depends(scraper)],
    response_class=Response,
    responses=_PAGE | answers(401, 403, 429),
)
async def metrics(gateway: Here) -> Response:
    """The bus and the gateway in numbers."""
    return Response(gateway.metrics(), media_type="text/plain; version=0.0.4; charset=utf-8")


@router.get("/api/v1/status", tags=["bus"])
async def status(gateway: Here, _who: Reader) -> Status:
    """Where the log stands, what can be done here, and whether the bus is halted."""
    return Status(
        epoch=gateway.ring.epoch,
        seq=gateway.ring.head,
        oldest=gateway.feed.oldest,
        capabilities=gateway.capabilities,
        views=gateway.sockets.views.names,
        halted=gateway.bus.is_halted,
        reason=gateway.bus.halt_reason,
        version=VERSION,
    )


@router.get("/api/v1/types", tags=["documents"], response_model=Types, responses=answers(304))
async def types(request: Request, gateway: Here, _who: Reader) -> Response:
    """Every registered event type, with the JSON Schema of its payload."""
    return tagged(request, await run_in_threadpool(lambda: types_of(gateway.auth.publishable).model_dump()))


@router.get("/asyncapi.json", tags=["documents"], response_class=JSONResponse, responses=answers(304))
async def asyncapi_document(request: Request, gateway: Here, _who: Reader) -> Response:
    """The registered types as an AsyncAPI 3 document: what comes over the WebSocket, and what may be published."""
    return tagged(request, await run_in_threadpool(lambda: asyncapi(types_of(gateway.auth.publishable))))


@router.get("/openapi.json", tags=["documents"], response_class=JSONResponse, responses=answers(304))
async def openapi_document(request: Request, _who: Reader) -> Response:
    """These routes as an OpenAPI document."""
    return tagged(request, await run_in_threadpool(request.app.openapi))
