"""A bus to be killed: it publishes, handles and commits, and tells what it was promised in a log of its own.

Arguments: the journal, the log, a seed, the point to die at ("" for none, "drain" to handle what is left and end), and how
often to pass it first.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from datetime import UTC, datetime
from pathlib import Path

from eventbus import Event, InMemoryEventBus, Reject, Retry
from eventbus.durability.journaled import Journaled
from eventbus.journal.sqlite import SqliteJournal
from eventbus.journal.sqlite import file as sqlite_file

CONCURRENCY = 4
DEADLY = 17  # of so many events the handler gives up one
LONG_AGO = datetime(2026, 1, 1, tzinfo=UTC)


class Victim:
    """Publishers, a handler that takes several at once and publishes itself, and one that keeps the order."""

    def __init__(self, bus: InMemoryEventBus, log: int, chance: random.Random) -> None:
        self._bus = bus
        self._log = log
        self._chance = chance
        # An attempt that a kill ends is an attempt: there must be more of them than kills.
        patient = Retry(attempts=50)
        bus.subscribe("told.*", self.handle, group="several", start="beginning", concurrency=CONCURRENCY, retry=patient)
        bus.subscribe("told.*", self.order, group="ordered", start="beginning")

    def tell(self, *words: object) -> None:
        """One line, by one system call: a kill leaves it whole or not at all."""
        os.write(self._log, (" ".join(map(str, words)) + "\n").encode())

    async def publish(self, name: str) -> None:
        """Publish for ever; each promise is written down after it was given."""
        number = 0
        while True:
            count = self._chance.choice((1, 1, 1, 5, 40))
            events = [told(f"{name}-{number + place}", number + place) for place in range(count)]
            number += count
            receipts = await self._bus.publish_many(events) if count > 1 else [await self._bus.publish(events[0])]
            for receipt in receipts:
                self.tell("kept", receipt.offset, receipt.event_id)
            await asyncio.sleep(0.002 * self._chance.random() * count)

    async def handle(self, event: Event) -> None:
        """Tell that it was handled; publish what follows from it, always under one id."""
        self.tell("began", event.event_id)
        if self._chance.random() < 0.3:
            await asyncio.sleep(0.002 * self._chance.random())
        if event["n"] % DEADLY == 0:
            raise Reject("deadly")
        await self._bus.publish(
            Event("echo", payload={"of": event.event_id}, event_id=f"echo-{event.event_id}", timestamp=LONG_AGO)
        )
        self.tell("handled", event.event_id)

    async def order(self, event: Event) -> None:
        """Tell that it came, in the order it came."""
        self.tell("ordered", event.event_id)


def told(event_id: str, number: int) -> Event:
    """An event of this test."""
    return Event("told.once", payload={"n": number}, event_id=event_id)


async def main(path: str, log: str, seed: str, point: str, passes: str) -> None:
    """Run until killed, or until everything is handled."""
    left = int(passes)

    def probe(passed: str) -> None:
        nonlocal left
        if passed == point:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sqlite_file.CHECKPOINT_PAGES = 200
    bus = InMemoryEventBus(store=Journaled(SqliteJournal(Path(path), probe=probe)))
    victim = Victim(bus, os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), random.Random(seed))
    async with bus:
        if point == "drain":
            await bus.drain()
            return
        async with asyncio.TaskGroup() as tg:
            for publisher in range(3):
                tg.create_task(victim.publish(f"{seed}-{publisher}"))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
