"""The end: SIGTERM under load drains the bus, then closes clients, then the process ends with 0; a second one ends it at once."""

from __future__ import annotations

import asyncio
import json
import select
import signal
import socket
from contextlib import AsyncExitStack, suppress
from pathlib import Path

import httpx
import pytest
import websockets
from starlette.responses import Response

from eventbus import Event, InMemoryEventBus, open_reader
from eventbus.gateway import GatewaySettings, create_gateway
from eventbus.gateway import server as gateway_server
from eventbus.gateway.server import serve
from eventbus.testing.gateway import Peer
from tests.eventbus.gateway.facts import PLAIN, Serving
from tests.eventbus.gateway.processes import PATIENCE_S, ServingProcess, serving_process

SLOW = """
import asyncio
from eventbus.gateway import server

server._CLOSING_S = 60  # of a client that gets no processor the end is not to be cut off

def build(bus):
    async def slow(event):
        await asyncio.sleep({seconds})
    bus.subscribe("work.*", slow, concurrency=8, name="slow")
"""


MUCH = 50_000_000  # bytes, more than sockets hold


def options(folder: Path, seconds: float, *more: str) -> list[str]:
    (folder / "slow_service.py").write_text(SLOW.format(seconds=seconds))
    return ["--bus", "sqlite:///run.db", "--allow-adhoc", "--with", "slow_service:build", *more]


async def load(served: ServingProcess) -> list[str]:
    """Publish until it takes nothing more; gives the ids that it said were accepted."""
    accepted: list[str] = []

    async def one(http: httpx.AsyncClient) -> None:
        while True:
            try:
                answer = await http.post("/api/v1/events", json=[{"type": "work.come"}] * 3)
            except httpx.TransportError:
                return
            if answer.status_code != 200:
                assert answer.status_code == 503
                return
            accepted.extend(receipt["event_id"] for receipt in answer.json()["receipts"])

    async with httpx.AsyncClient(verify=PLAIN, base_url=served.url, timeout=PATIENCE_S) as http:
        await asyncio.gather(*(one(http) for _ in range(4)))
    return accepted


@pytest.mark.slow
async def test_a_signal_under_load_drains_and_clients_hear_the_last_event(tmp_path: Path) -> None:
    with serving_process(tmp_path, *options(tmp_path, 0.01)) as served:
        heard: list[str] = []
        listens = asyncio.Event()

        async def listen() -> int:
            async with websockets.connect(
                served.url.replace("http", "ws") + "/api/v1/ws", open_timeout=PATIENCE_S, ping_interval=None
            ) as line:
                await line.send(json.dumps({"type": "subscribe", "topics": ["work.*"]}))
                try:
                    while True:
                        message = json.loads(await line.recv())
                        if message["type"] == "subscribed":
                            listens.set()
                        if message["type"] == "event":
                            heard.append(message["payload"]["event_id"])
                            if len(heard) == 30:
                                served.process.send_signal(signal.SIGTERM)  # once: a second one would end it at once
                except websockets.ConnectionClosed as closed:
                    return closed.rcvd.code if closed.rcvd else 1006

        listening = asyncio.create_task(listen())
        await listens.wait()
        accepted, code = await asyncio.gather(load(served), listening)
        assert await asyncio.to_thread(served.wait) == 0
    assert code == 1001
    assert len(accepted) >= 30
    with open_reader(tmp_path / "run.db") as reader:
        kept = [record.event_id for record in reader.read(0, 1_000_000)]
    assert {*accepted} <= {*kept}
    assert heard == kept  # in order, to the last
    assert [line for line in served.logged if line["level"] in ("error", "critical")] == []


@pytest.mark.slow
async def test_a_second_signal_ends_it_at_once(tmp_path: Path) -> None:
    with serving_process(tmp_path, *options(tmp_path, 600, "--drain-timeout", "600")) as served:
        async with httpx.AsyncClient(verify=PLAIN, base_url=served.url, timeout=PATIENCE_S) as http:
            assert (await http.post("/api/v1/events", json={"type": "work.come"})).status_code == 200
            served.process.send_signal(signal.SIGTERM)
            while (await http.get("/readyz")).status_code != 503:
                pass
        assert served.process.poll() is None
        served.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(served.wait) == 128 + signal.SIGTERM


@pytest.mark.slow
async def test_what_hangs_is_left_after_the_drain_timeout(tmp_path: Path) -> None:
    with serving_process(tmp_path, *options(tmp_path, 600, "--drain-timeout", "0.2")) as served:
        async with httpx.AsyncClient(verify=PLAIN, base_url=served.url, timeout=PATIENCE_S) as http:
            assert (await http.post("/api/v1/events", json={"type": "work.come"})).status_code == 200
        served.process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(served.wait) == 0


@pytest.mark.timed
async def test_clients_are_closed_within_a_second_of_the_end_of_the_drain(serving: Serving) -> None:
    """A tenth of it on a machine that has nothing else to do, with fifty of them."""
    bus = InMemoryEventBus()
    handled: list[float] = []
    clock = asyncio.get_running_loop().time

    async def work(_event: Event) -> None:
        await asyncio.sleep(0.005)
        handled.append(clock())

    bus.subscribe("work.come", work, name="worker")
    served = await serving(bus)
    async with AsyncExitStack() as clients:
        peers = [await clients.enter_async_context(served.connect()) for _ in range(50)]
        for peer in peers:
            await peer.subscribe("work.*")

        async def ended(peer: Peer) -> tuple[int, float]:
            code, _ = await peer.closed()
            return code, clock()

        ends = [asyncio.create_task(ended(peer)) for peer in peers]
        for _ in range(50):
            await bus.publish(Event("work.come"))
        stopping = asyncio.create_task(served.stop())
        closed = await asyncio.gather(*ends)
        await stopping
    assert len(handled) == 50, "drained"
    assert {code for code, _ in closed} == {1001}
    assert max(at for _, at in closed) - handled[-1] < 1.0
    assert all(len(peer.events) == 50 for peer in peers), "and everybody heard the last one"


async def test_who_never_reads_is_cut_with_the_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway_server, "_CLOSING_S", 0.05)
    started: asyncio.Future[str] = asyncio.get_running_loop().create_future()
    until = asyncio.Event()
    async with InMemoryEventBus() as bus:
        app = create_gateway(bus, GatewaySettings(port=0))
        app.add_api_route("/much", lambda: Response(bytes(MUCH)))
        ended = asyncio.create_task(serve(app, started=started.set_result, until=until))
        port = int((await started).rpartition(":")[2])
        with socket.create_connection(("127.0.0.1", port), timeout=60) as client:
            client.sendall(f"GET /much HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\n\r\n".encode())
            while not select.select([client], [], [], 0)[0]:  # noqa: ASYNC110 - until the answer begins
                await asyncio.sleep(0)
            until.set()
            await ended
            assert await asyncio.to_thread(rest_of, client) < MUCH


def rest_of(client: socket.socket) -> int:
    """How many bytes still come until the other side is gone."""
    count = 0
    with suppress(ConnectionResetError):
        while came := client.recv(1 << 20):
            count += len(came)
    return count
