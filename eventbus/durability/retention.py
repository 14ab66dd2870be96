"""Retention: how much of a journal is kept, and who sees to it while a bus runs.

What a durable subscription has not finished is never removed here, however old: only a forced `Journal.trim` goes that far.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from eventbus.bounds import seconds, whole
from eventbus.errors import JournalError
from eventbus.log import log

if TYPE_CHECKING:
    from eventbus.clock import Clock
    from eventbus.durability.trouble import Trouble
    from eventbus.journal.protocol import Journal


_LOOK_S = 1.0  # how often a process that is not the one looks whether it has become so


@dataclass(frozen=True, slots=True, kw_only=True)
class Retention:
    """Remove the events that are older than `max_age` seconds, and the oldest while the file holds more than `max_bytes`.

    Looked at when the bus starts and every `every` seconds. Raises `PolicyConflict` for what cannot be.
    """

    max_age: float | None = None
    max_bytes: int | None = None
    every: float = 60.0

    def __post_init__(self) -> None:
        if self.max_age is not None:
            seconds("retention.max_age", self.max_age)
        if self.max_bytes is not None:
            whole("retention.max_bytes", self.max_bytes)
        seconds("retention.every", self.every)


async def retain(
    journal: Journal,
    retention: Retention,
    clock: Clock,
    trouble: Trouble,
    is_wanted: Callable[[], bool],
    is_mine: Callable[[], bool] = lambda: True,
) -> None:
    """Keep a journal within its bounds for as long as that is wanted. What cannot be removed now is tried again later.

    Where processes share it, one of them does it: the one for whom `is_mine` says so.
    """
    while is_wanted():
        if not is_mine():
            await asyncio.sleep(min(_LOOK_S, retention.every))
            continue
        oldest_ns = None
        if retention.max_age is not None:
            oldest_ns = int((clock.now().timestamp() - retention.max_age) * 1e9)
        try:
            trimmed = await journal.trim(before_ns=oldest_ns, max_bytes=retention.max_bytes)
        except JournalError as error:
            trouble.tell("retention waits for its journal", error)
        else:
            if trimmed.removed:
                log.info("old events removed", extra={"records": trimmed.removed, "oldest": trimmed.first})
        await asyncio.sleep(retention.every)
