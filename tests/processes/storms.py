"""Storms: what a group of processes has to survive, as often as it is told: deaths, pauses, a server that is killed, a network that fails.

Each gives what was counted. After all of them nothing acknowledged is lost, each account was handled in order, and every step has one
outcome in the journal.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import statistics
import time
from collections.abc import AsyncIterator, Awaitable
from typing import Any

from eventbus import EventBus, create_event_bus
from eventbus.testing.servers import FaultProxy, NoServer, PrivateServer
from tests.processes.fleet import PATIENCE_S, Fleet

LEASE_S = 3.0
PARTS = 16
REPEATED = 256  # deliveries of one part that a death may repeat
ACCOUNTS = 31
_GROUP = {"group": "books", "concurrency": 4, "parts": PARTS}
LIMIT_S = float(os.environ.get("EVENTBUS_TORTURE_S", "inf"))
_AHEAD = 200  # steps that may wait to be handled
_CHUNK = 100


class Storm:
    """Workers under load, and what was counted."""

    def __init__(self, fleet: Fleet, workers: int, *, url: str | None = None, timeout_s: float = 5.0) -> None:
        self.fleet = fleet
        settings = {"lease": LEASE_S, "timeout_s": timeout_s}
        self.config: dict[str, Any] = {"settings": settings, "group": _GROUP, "work_s": 0.01}
        if url is not None:
            self.config["url"] = url
        self.workers = [fleet.start(**self.config) for _ in range(workers)]
        self.publisher = fleet.start(settings=settings, **({"url": url} if url else {}))
        self.sent = 0
        self.began = time.monotonic()

    @contextlib.asynccontextmanager
    async def load(self) -> AsyncIterator[None]:
        """Steps come without a pause meanwhile; in the end all of them are handled."""
        await self.fleet.ready(*self.workers, self.publisher)
        feeding = asyncio.create_task(self._feed())
        try:
            yield
        finally:
            feeding.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await feeding
        await self.fleet.until(lambda: len(self.fleet.of("kept")) >= self.sent)
        await self.fleet.until(lambda: len(self.fleet.handled()) >= self.sent)

    async def _feed(self) -> None:
        while True:
            if self.sent - len(self.fleet.of("kept")) < _CHUNK and self.sent - len(self.fleet.handled()) < _AHEAD:
                self.fleet.send(self.publisher, "publish", self.sent, _CHUNK, ACCOUNTS)
                self.sent += _CHUNK
            await asyncio.sleep(0.02)

    def goes_on(self, done: int, wanted: int) -> bool:
        """Is more to be done, and is there time?"""
        return done < wanted and time.monotonic() - self.began < LIMIT_S

    async def counted(self, **counts: Any) -> dict[str, Any]:
        """What holds after every storm."""
        fleet = self.fleet
        assert fleet.handled() == {*range(self.sent)}, "acknowledged and never handled"
        fleet.must_be_in_order()
        async with create_event_bus(fleet.url) as bus:
            deadline = time.monotonic() + PATIENCE_S
            while (totals := await _outcomes(bus)) != {"succeeded": self.sent}:  # what was taken over may be done again
                assert sum(totals.values()) <= self.sent, "an outcome is there twice"
                assert time.monotonic() < deadline, f"outcomes are missing: {totals} of {self.sent}"
                await asyncio.sleep(0.1)
            assert bus.journal.last == self.sent, "an event was accepted twice"
        for pid in [*self.workers, self.publisher]:
            fleet.signal(pid, signal.SIGTERM)
        for pid in [*self.workers, self.publisher]:
            fleet.wait(pid)
        repeated, of_a_part = len(fleet.of("began")) - self.sent, fleet.repeats(PARTS)
        most = max(of_a_part.values(), default=0)
        assert most <= REPEATED, "a part was taken over with more than that in flight"
        return {
            "events": self.sent,
            "lost": 0,
            "out_of_order": 0,
            "repeated_attempts": repeated,
            "takeovers_with_repeats": len(of_a_part),
            "most_repeats_of_a_part_in_a_takeover": most,
            "duration_s": round(time.monotonic() - self.began, 1),
            **counts,
        }


async def _outcomes(bus: EventBus) -> dict[str, int]:
    """How many deliveries the cursors of all parts say ended how."""
    totals: dict[str, int] = {}
    for part in range(PARTS):
        cursor = await bus.journal.committed(f"books/{part}")
        if cursor is not None:
            for status, count in cursor.totals.items():
                totals[status] = totals.get(status, 0) + count
    return totals


async def through(storm: Storm, weather: Awaitable[dict[str, Any]]) -> dict[str, Any]:
    """What was counted in a storm of one kind, and what holds after it."""
    async with storm.load():
        counts = await weather
    return await storm.counted(**counts)


async def kill_workers(storm: Storm, kills: int) -> dict[str, Any]:
    """SIGKILL a worker that has work in flight; others finish it."""
    fleet, taken, done = storm.fleet, list[float](), 0
    while storm.goes_on(done, kills):
        await fleet.until(lambda: sum(bool(fleet.of("ready", pid)) for pid in storm.workers) > 1)
        victim = await fleet.held(storm.workers)
        orphans = fleet.open_steps(victim)
        fleet.signal(victim, signal.SIGKILL)
        killed, done = time.monotonic(), done + 1
        storm.workers.remove(victim)
        storm.workers.append(fleet.start(**storm.config))
        await fleet.until(lambda orphans=orphans: orphans <= fleet.handled())  # type: ignore[misc] # as they are now
        taken.append(time.monotonic() - killed)
    await fleet.ready(*storm.workers)
    return {"kills": done, **_times("takeover", taken)}


async def pause_workers(storm: Storm, pauses: int) -> dict[str, Any]:
    """SIGSTOP a worker for longer than its lease; what it says afterwards of what it lost changes nothing."""
    fleet, done = storm.fleet, 0
    while storm.goes_on(done, pauses):
        done += 1
        victim = await fleet.held(storm.workers)
        orphans = fleet.open_steps(victim)
        await fleet.until(lambda orphans=orphans: orphans <= fleet.handled())  # type: ignore[misc] # as they are now
        fleet.signal(victim, signal.SIGCONT)
        before = len(fleet.of("began", victim))
        await fleet.until(lambda pid=victim, n=before: len(fleet.of("began", pid)) > n)  # type: ignore[misc]
    return {"pauses": done}


async def kill_servers(storm: Storm, server: PrivateServer, kills: int) -> dict[str, Any]:
    """SIGKILL the server with its children, under load; everybody goes on when it is back."""
    fleet, waited, done = storm.fleet, list[float](), 0
    while storm.goes_on(done, kills):
        await fleet.busy(storm.workers)
        done += 1
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(_start_again, server)
        back, kept, ended = time.monotonic(), len(fleet.of("kept")), len(fleet.of("ended"))
        await fleet.until(lambda kept=kept: len(fleet.of("kept")) > kept)  # type: ignore[misc] # as it is now
        await fleet.until(lambda ended=ended: len(fleet.of("ended")) > ended)  # type: ignore[misc]
        waited.append(time.monotonic() - back)
    return {"server_kills": done, **_times("back", waited)}


def _times(of: str, seconds: list[float]) -> dict[str, float]:
    return {f"median_{of}_s": round(statistics.median(seconds), 2), f"slowest_{of}_s": round(max(seconds), 2)}


def _start_again(server: PrivateServer) -> None:
    """A child that was just being made may outlive the kill for a moment, and the server does not start beside it."""
    for _ in range(50):
        with contextlib.suppress(NoServer):
            server.start()
            return
        time.sleep(0.2)
    raise NoServer("the server did not start again")


async def fail_network(storm: Storm, proxy: FaultProxy, faults: int, seed: int) -> dict[str, Any]:
    """Connections are cut, reset, refused, silent, slow, or lose their answers."""
    fleet, chance, kinds, done = storm.fleet, random.Random(seed), dict[str, int](), 0
    while storm.goes_on(done, faults):
        done += 1
        kind = chance.choice(("cut", "reset", "refuse", "black_hole", "lose_answers", "delay"))
        kinds[kind] = kinds.get(kind, 0) + 1
        if kind == "delay":
            proxy.delay(0.05)
        else:
            getattr(proxy, kind)()
        await asyncio.sleep(chance.uniform(0.02, 0.25))
        proxy.heal()
        kept = len(fleet.of("kept"))
        await fleet.until(lambda kept=kept: len(fleet.of("kept")) > kept)  # type: ignore[misc]
    return {"faults": done, "kinds": kinds}
