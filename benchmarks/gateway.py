"""Gateway: what watching costs a bus, and the fan-out to many clients beside a bare broadcast loop: `python -m benchmarks.gateway`.

Clients live in another process. The bare loop is what one writes first: FastAPI, a list of sockets, `await send_text` to each in turn.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import multiprocessing
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from benchmarks.gateway_clients import Received, clients
from benchmarks.machine import about
from eventbus import Event, InMemoryEventBus
from eventbus.gateway import GatewaySettings, create_gateway, serve

PAD = "x" * 800
TOPIC = "load.tick"
Say = Callable[[str], None]
Publish = Callable[[str, int, int], Awaitable[object]]
There = Callable[[], int]
"""How many clients there are."""


class Watched(Event, type=TOPIC):
    """What is sent to everybody."""

    t: int
    n: int
    pad: str = PAD


class Plain(Event, type="load.plain"):
    """What nobody watches."""

    n: int


# --- the two servers ---------------------------------------------------------------------------------------------------------


@asynccontextmanager
async def gateway(bus: InMemoryEventBus) -> AsyncIterator[tuple[int, str, bytes, Publish, There]]:
    app = create_gateway(bus, GatewaySettings(port=0))
    listening, until = asyncio.get_running_loop().create_future(), asyncio.Event()
    task = asyncio.create_task(serve(app, started=listening.set_result, until=until))
    hub = app.state.gateway.sockets.hub
    port = int((await listening).rpartition(":")[2])

    async def publish(_text: str, n: int, due_ns: int) -> None:
        await bus.publish(Watched(t=due_ns, n=n))

    try:
        yield port, "/api/v1/ws", json.dumps({"type": "subscribe", "topics": [TOPIC]}).encode(), publish, hub.__len__
    finally:
        until.set()
        await task


@asynccontextmanager
async def bare() -> AsyncIterator[tuple[int, str, bytes, Publish, There]]:
    app, sockets = FastAPI(), list[WebSocket]()

    @app.websocket("/ws")
    async def listen(websocket: WebSocket) -> None:
        await websocket.accept()
        sockets.append(websocket)
        try:
            while True:
                await websocket.receive_text()
        except WebSocketDisconnect:
            pass

    async def publish(text: str, _n: int, _due_ns: int) -> None:
        for websocket in sockets:
            await websocket.send_text(text)

    config = uvicorn.Config(
        app,
        port=0,
        log_config=None,
        access_log=False,
        ws_per_message_deflate=False,
        ws_ping_interval=None,
        lifespan="off",
    )
    server = uvicorn.Server(config)
    task = asyncio.create_task(server.serve())
    while not server.started:  # noqa: ASYNC110 - the server tells nobody
        await asyncio.sleep(0.01)
    try:
        yield server.servers[0].sockets[0].getsockname()[1], "/ws", b"", publish, sockets.__len__
    finally:
        server.should_exit = server.force_exit = True
        await task


@contextmanager
def audience(port: int, path: str, living: int, dead: int, subscribe: bytes) -> Iterator[Connection]:
    """The process of the clients."""
    here, there = multiprocessing.Pipe()
    process = multiprocessing.get_context("spawn").Process(
        target=clients, args=(port, path, living, dead, subscribe, there), daemon=True
    )
    process.start()
    try:
        yield here
    finally:
        process.kill()
        process.join()


async def told(pipe: Connection) -> Any:
    return await asyncio.get_running_loop().run_in_executor(None, pipe.recv)


# --- load ----------------------------------------------------------------------------------------------------------------------


async def run(
    pipe: Connection, publish: Publish, count: int, patience_s: float, pause_s: float = 0.0
) -> tuple[Received, float]:
    """Publish so many; what the clients that read received, and the messages a second."""
    pipe.send((count, patience_s))
    await told(pipe)
    started = time.monotonic()

    async def publish_all() -> None:
        """Who is late is late by all of it: the moment that counts is the one at which it was due."""
        begun = time.monotonic()
        for n in range(count):
            due = begun + n * pause_s
            if pause_s:
                await asyncio.sleep(max(0.0, due - time.monotonic()))
            due_ns = int((due if pause_s else time.monotonic()) * 1e9)
            text = json.dumps({"type": "event", "seq": n, "payload": {"t": due_ns, "n": n, "pad": PAD}})
            await publish(text.replace('"t": ', '"t":').replace(', "n": ', ',"n":'), n, due_ns)

    publishing = asyncio.create_task(publish_all())
    received: Received = await told(pipe)
    publishing.cancel()
    await asyncio.gather(publishing, return_exceptions=True)
    return received, received.messages / (received.last_s - started)


async def cut_off(there: There, living: int) -> float:
    """When only those that read were left."""
    while there() > living:  # noqa: ASYNC110 - nobody tells
        await asyncio.sleep(0.05)
    return time.monotonic()


def memory() -> float:
    """MiB that this process holds."""
    pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    return pages * 4096 / 2**20


async def load(say: Say, living: int, dead: int, count: int, rounds: int) -> None:
    """Both servers with the same clients, in turns; the figures of each and the ratio."""
    rates: dict[str, list[float]] = {"gateway": [], "bare loop": []}
    delays: dict[str, list[float]] = {"gateway": [], "bare loop": []}
    for _ in range(rounds):
        for name, found in rates.items():
            server = gateway(InMemoryEventBus()) if name == "gateway" else bare()
            async with server as (port, path, subscribe, publish, there):
                with audience(port, path, living, dead, subscribe) as pipe:
                    await told(pipe)
                    before, started = memory(), time.monotonic()
                    left = asyncio.create_task(cut_off(there, living))
                    received, rate = await run(pipe, publish, count, 20.0)
                    found.append(rate)
                    extra = memory() - before
                    gone = ""
                    if dead and name == "gateway":
                        while not left.done() and time.monotonic() < started + 30:  # the load goes on
                            await run(pipe, publish, 20, 5.0)
                        after = left.result() - started if left.done() else 30.0
                        gone = f", {living + dead - there()} of {dead} that never read gone after {after:.1f} s"
                    left.cancel()
                    if not dead:
                        paced, _rate = await run(pipe, publish, 100, 20.0, 0.02)
                        delays[name].append(paced.p99_ms)
                    say(
                        f"  {name}: {rate:,.0f} messages/s, {received.in_order} of {living} got all of {count} in order,"
                        f" {extra:.0f} MiB more{gone}"
                    )
    middle = {name: sorted(each)[len(each) // 2] for name, each in rates.items()}
    say(
        f"{living} clients that read, {dead} that never do: {middle['gateway'] / middle['bare loop']:.2f} times the bare loop"
    )
    if not dead:
        p99 = {name: sorted(each)[len(each) // 2] for name, each in delays.items()}
        say(f"  p99 of 100 messages, 50 a second: {p99['gateway']:.1f} ms, bare loop {p99['bare loop']:.1f} ms")


# --- what watching costs ---------------------------------------------------------------------------------------------------------


async def burst(bus: InMemoryEventBus, count: int) -> float:
    """Events a second of processor time, at the maximum."""
    started = time.process_time()
    for n in range(count):
        await bus.publish(Plain(n=n))
    await bus.drain()
    return count / (time.process_time() - started)


async def steady(bus: InMemoryEventBus, per_s: float, seconds: float) -> float:
    """Events a second when so many are published, a hundred of them such as are watched."""
    started, done, watched = time.monotonic(), 0, 0
    while (gone := time.monotonic() - started) < seconds:
        for _ in range(int(gone * per_s) - done):
            await bus.publish(Plain(n=done))
            done += 1
        while watched < gone * 100:
            await bus.publish(Watched(t=time.monotonic_ns(), n=watched))
            watched += 1
        await asyncio.sleep(0.002)
    await bus.drain()
    return done / (time.monotonic() - started)


async def handle(_event: Plain) -> None:
    """What is measured is the way there."""


async def watching(say: Say, count: int) -> None:
    """The bus alone, with a gateway that nobody watches, and with a hundred clients on views and a topic."""
    alone, served = list[float](), list[float]()
    for turn in range(10):
        for name, found in (("alone", alone), ("served", served)):
            async with InMemoryEventBus() as bus:
                bus.subscribe(Plain, handle)
                if name == "alone":
                    found.append(await burst(bus, count))
                else:
                    async with gateway(bus):
                        found.append(await burst(bus, count))
        if not turn:
            alone.clear()
            served.clear()
    ratio = sorted(served)[len(served) // 2] / sorted(alone)[len(alone) // 2]
    say(f"bus with a gateway and no client: {ratio:.3f} of its throughput without one")
    per_s = 0.7 * sorted(alone)[len(alone) // 2]
    ask = json.dumps({"type": "subscribe", "topics": [TOPIC], "views": ["bus"]}).encode()
    rates: dict[int, list[float]] = {0: [], 100: []}
    for _ in range(3):
        for living, found in rates.items():
            async with InMemoryEventBus() as bus:
                bus.subscribe(Plain, handle)
                async with gateway(bus) as (port, path, _subscribe, _publish, _there):
                    with audience(port, path, living, 0, ask) as pipe:
                        await told(pipe)
                        found.append(await steady(bus, per_s, 3.0))
    unwatched, watched = (sorted(found)[len(found) // 2] for found in rates.values())
    say(
        f"100 clients on a view and a topic of 100 a second, bus at 70 % of {per_s / 0.7:,.0f}/s: {watched / unwatched:.3f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--messages", type=int, default=400)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    def say(line: str) -> None:
        sys.stdout.write(line + "\n")
        sys.stdout.flush()

    say(f"{about()}.")
    asyncio.run(watching(say, options.events))
    dead = options.clients // 10
    asyncio.run(load(say, options.clients, 0, options.messages, options.rounds))
    asyncio.run(load(say, options.clients - dead, dead, 3 * options.messages, options.rounds))


if __name__ == "__main__":
    main()
