"""Gateway: what watching costs a bus, and the fan-out to many clients beside a bare broadcast loop: `python -m benchmarks.gateway`.

Clients live in another process. The bare loop is what one writes first: FastAPI, a list of sockets, `await send_text` to each in turn.
What was measured goes to stderr as it comes, the table of `docs/figures.md` to stdout at the end.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import multiprocessing
import os
import sys
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from multiprocessing.connection import Connection
from pathlib import Path
from statistics import median
from typing import Any

import uvicorn
from fastapi import FastAPI, WebSocket, WebSocketDisconnect

from benchmarks.gateway_clients import Received, clients
from benchmarks.machine import about
from eventbus import Event, InMemoryEventBus
from eventbus.gateway import GatewaySettings, create_gateway, serve

PAD = "x" * 800
AT_ONCE = 500  # events of a bus at its maximum, before others have their turn
FULL_AFTER = 3_600  # messages more, after which neither the server nor the system holds more for who never reads
TOPIC = "load.tick"
SERVERS = ("gateway", "bare loop")
Row = tuple[str, str, str]
"""What, what was reached, what is asked."""

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


@dataclass(slots=True)
class Found:
    """What one server came to with one number of clients: of each round."""

    rates: list[float] = field(default_factory=list)  # messages a second
    p50_ms: list[float] = field(default_factory=list)
    p99_ms: list[float] = field(default_factory=list)  # infinite where not everybody got everything
    in_order: list[int] = field(default_factory=list)
    extra_mib: list[float] = field(default_factory=list)
    gone_s: list[float] = field(default_factory=list)


async def one_round(name: str, found: Found, living: int, dead: int, count: int) -> None:
    """A burst; with dead clients more of it, until the system holds no more for them; then messages at a steady pace."""
    server = gateway(InMemoryEventBus()) if name == "gateway" else bare()
    async with server as (port, path, subscribe, publish, there):
        with audience(port, path, living, dead, subscribe) as pipe:
            await told(pipe)
            before, started = memory(), time.monotonic()
            left = asyncio.create_task(cut_off(there, living))
            received, rate = await run(pipe, publish, count, 20.0)
            found.rates.append(rate)
            found.in_order.append(received.in_order)
            for _ in range(FULL_AFTER // count if dead else 0):
                more, _rate = await run(pipe, publish, count, 12.0)
                if not more.messages:
                    break  # it stands still
            if dead and name == "gateway":
                while not left.done() and time.monotonic() < started + 30:  # the load goes on
                    await run(pipe, publish, 20, 5.0)
                found.gone_s.append(left.result() - started if left.done() else math.inf)
            left.cancel()
            found.extra_mib.append(memory() - before)
            paced, _rate = await run(pipe, publish, 100, 10.0, 0.02)
            found.p50_ms.append(paced.p50_ms if paced.in_order == living else math.inf)
            found.p99_ms.append(paced.p99_ms if paced.in_order == living else math.inf)
    note(f"  {name}, {living} that read, {dead} that never do: {rate:,.0f} messages/s, p99 {found.p99_ms[-1]:.1f} ms")


async def load(living: int, dead: int, count: int, rounds: int) -> AsyncIterator[Row]:
    """Both servers with the same clients, in turns: what the issue asks of the gateway, against the bare loop."""
    found = {name: Found() for name in SERVERS}
    for _ in range(rounds):
        for name in SERVERS:
            await one_round(name, found[name], living, dead, count)
    ours, theirs = found["gateway"], found["bare loop"]
    asked = "2" if dead else "0.8"
    who = f"{living} clients that read" + (f" and {dead} that never do" if dead else "")
    rate, other = median(ours.rates), median(theirs.rates)
    yield (
        f"{who}: messages a second, against the bare loop",
        f"{rate / other:.2f} ({rate:,.0f} against {other:,.0f})",
        asked,
    )
    p99, bare_p99 = median(ours.p99_ms), median(theirs.p99_ms)
    ratio, against = f"{bare_p99 / p99:.2f}", f"{bare_p99:.1f} ms, p50 {median(theirs.p50_ms):.1f}"
    if math.isinf(bare_p99):
        ratio, against = "no end", "a loop that stands still"
    yield (
        "the same: p99 of 100 messages from when each was due, 50 a second, the bare loop's against the gateway's",
        f"{ratio} ({p99:.1f} ms, p50 {median(ours.p50_ms):.1f}, against {against})",
        asked,
    )
    yield (f"of those {living}, who got all of {count} messages once and in order", str(min(ours.in_order)), "all")
    if dead:
        yield ("who never reads is gone after", f"{max(ours.gone_s):.1f} s", "10 s")
        yield ("memory more meanwhile", f"{max(ours.extra_mib):.0f} MiB", "100 MiB")


# --- what watching costs ---------------------------------------------------------------------------------------------------------


async def burst(bus: InMemoryEventBus, count: int) -> float:
    """Events a second of processor time, at the maximum."""
    started = time.process_time()
    for n in range(count):
        await bus.publish(Plain(n=n))
    await bus.drain()
    return count / (time.process_time() - started)


async def steady(bus: InMemoryEventBus, per_s: float, seconds: float) -> float:
    """Events a second when so many are published, as many as go if that is infinite; a hundred of them such as are watched."""
    started, done, watched = time.monotonic(), 0, 0
    while (gone := time.monotonic() - started) < seconds:
        for _ in range(AT_ONCE if math.isinf(per_s) else int(gone * per_s) - done):
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


async def watching(count: int) -> AsyncIterator[Row]:
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
    most = median(alone)
    yield (
        "throughput of the bus with a gateway that nobody watches, against none",
        f"{median(served) / most:.3f}",
        "0.98",
    )
    who = "with 100 clients on a view and a topic of 100 a second each, against none:"
    for per_s, what, asked in (
        (0.7 * most, f"the bus at 70 % of its {most:,.0f} events a second", "0.9"),
        (math.inf, "the bus at its maximum", "stated"),
    ):
        yield f"{who} {what}", f"{await watched_share(per_s):.3f}", asked


async def watched_share(per_s: float) -> float:
    """How much of its throughput is left to a bus while a hundred clients watch."""
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
    return median(rates[100]) / median(rates[0])


async def everything(options: argparse.Namespace) -> list[Row]:
    dead = options.clients // 10
    parts = (
        watching(options.events),
        load(options.clients, 0, options.messages, options.rounds),
        load(options.clients - dead, dead, 3 * options.messages, options.rounds),
    )
    rows = list[Row]()
    for part in parts:
        async for row in part:
            note(": ".join(row[:2]))
            rows.append(row)
    return rows


def note(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gateway", description=__doc__)
    parser.add_argument("--clients", type=int, default=500)
    parser.add_argument("--messages", type=int, default=400)
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    options = parser.parse_args()

    note(f"{about()}, load {os.getloadavg()[0]:.1f} at the beginning.")
    rows = asyncio.run(everything(options))
    note(f"load {os.getloadavg()[0]:.1f} at the end, of which this is one")
    for row in (("what", "reached", "asked"), ("---", "---", "---"), *rows):
        sys.stdout.write(f"| {' | '.join(row)} |\n")


if __name__ == "__main__":
    main()
