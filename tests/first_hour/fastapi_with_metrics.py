"""A bus in a FastAPI application: started with it, injected, scraped, drained at the end."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import httpx
import uvicorn
from fastapi import Depends, FastAPI, Request, Response

from eventbus import Event, EventBus, create_event_bus
from eventbus.observability import metrics_text


class OrderPlaced(Event, type="shop.order_placed"):
    number: int


handled: list[int] = []


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    bus = create_event_bus("memory://")

    @bus.on(OrderPlaced, name="stock")
    async def reserve(order: OrderPlaced) -> None:
        await asyncio.sleep(0.01)
        handled.append(order.number)

    app.state.bus = bus
    async with bus:
        yield


def bus_of(request: Request) -> EventBus:
    bus: EventBus = request.app.state.bus
    return bus


app = FastAPI(lifespan=lifespan)
Bus = Annotated[EventBus, Depends(bus_of)]


@app.post("/orders/{number}", status_code=202)
async def place(number: int, bus: Bus) -> dict[str, str]:
    return {"event_id": (await bus.publish(OrderPlaced(number=number))).event_id}


@app.get("/metrics")
async def metrics(bus: Bus) -> Response:
    return Response(metrics_text(bus), media_type="text/plain; version=0.0.4")


async def main() -> None:
    server = uvicorn.Server(uvicorn.Config(app, port=0, log_level="warning"))
    serving = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - uvicorn has nothing to wait for
        await asyncio.sleep(0.01)
    port = server.servers[0].sockets[0].getsockname()[1]
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{port}", timeout=60) as client:
        answers = await asyncio.gather(*(client.post(f"/orders/{number}") for number in range(50)))
        assert {answer.status_code for answer in answers} == {202}
        page = (await client.get("/metrics")).text
        assert "eventbus_published_events_total" in page, page
        assert "stock" in page, page
    server.should_exit = True
    await serving
    assert sorted(handled) == list(range(50)), "the bus drained before the application ended"
    print("50 orders, none lost at the end")


asyncio.run(main())
