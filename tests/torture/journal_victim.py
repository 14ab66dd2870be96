"""A process to be killed: it journals, handles and checkpoints, and tells what it was promised in a log of its own.

Arguments: the journal, the log; the group of the handler, of how many records it gives up one, how many it takes at a
time; a seed, the point to die at ("" for none), and how often to pass it first.
"""

from __future__ import annotations

import asyncio
import os
import random
import signal
import sys
from pathlib import Path

from eventbus.journal.sqlite import SqliteJournal
from eventbus.journal.sqlite import file as sqlite_file
from eventbus.journal.values import Append, Cursor, NewDeadLetter, Settled, Status


class Victim:
    """Publishers and one handler over one journal."""

    def __init__(self, journal: SqliteJournal, log: int, chance: random.Random) -> None:
        self._journal = journal
        self._log = log
        self._chance = chance

    def tell(self, *words: object) -> None:
        """One line, by one system call: a kill leaves it whole or not at all."""
        os.write(self._log, (" ".join(map(str, words)) + "\n").encode())

    async def publish(self, name: str) -> None:
        """Publish batches for ever; each promise is written down after it was given."""
        number = 0
        while True:
            count = self._chance.choice((1, 1, 2, 20))
            ids = [f"{name}-{number + place}" for place in range(count)]
            number += count
            batch = [Append(id_, "t", 1, "event", None, 0, None, None, id_.encode() * 20) for id_ in ids]
            for answer, item in zip(await self._journal.append(batch), batch, strict=True):
                self.tell("kept", answer.offset, item.event_id)

    async def handle(self, cursor: Cursor, deadly: int, at_a_time: int) -> None:
        """Handle every record after the cursor, as a bus would: count the attempt, do it, settle."""
        at = cursor.floor
        while True:
            await self._journal.wait(at)
            records = [each for each in await self._journal.read(at, at_a_time) if not cursor.is_settled(each.offset)]
            offsets = [record.offset for record in records]
            await self._journal.record_attempts(cursor.group, offsets)
            settled, dead = [], []
            for record in records:
                self.tell("handled", record.offset)
                if record.offset % deadly:
                    settled.append(Settled(record.offset))
                    continue
                settled.append(Settled(record.offset, Status.DEAD_LETTERED))
                dead.append(NewDeadLetter("s", record.event_id, "t", record.offset, "r", "", 1, 0, 0, record.body))
            await self._journal.commit(cursor.group, settled, dead=dead)
            for offset in offsets:
                self.tell("settled", offset)
            at = max([at, *offsets])


async def main(
    path: str, log: str, group: str, deadly: str, at_a_time: str, seed: str, point: str, passes: str
) -> None:
    """Run until killed."""
    left = int(passes)

    def probe(passed: str) -> None:
        nonlocal left
        if passed == point:
            left -= 1
            if left < 0:
                os.kill(os.getpid(), signal.SIGKILL)

    sqlite_file.CHECKPOINT_PAGES = 60
    journal = SqliteJournal(Path(path), probe=probe)
    await journal.open()
    victim = Victim(journal, os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT), random.Random(seed))
    async with asyncio.TaskGroup() as tg:
        cursor = await journal.open_group(group, "beginning")
        tg.create_task(victim.handle(cursor, int(deadly), int(at_a_time)))
        for publisher in range(3):
            tg.create_task(victim.publish(f"{seed}-{publisher}"))


if __name__ == "__main__":
    asyncio.run(main(*sys.argv[1:]))
