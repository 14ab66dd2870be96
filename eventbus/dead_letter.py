"""Dead letters: deliveries nobody could handle, kept with the reason until somebody redrives or purges them.

Holds capped text, never exception objects: a traceback would pin the frames of every failure. Knows how to list; the bus
gives it the function that delivers again.
"""

from __future__ import annotations

import builtins
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime

from eventbus.event import Event

_TEXT_CAP = 8 * 1024


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One delivery that was given up. `error` is text, at most 8 KiB."""

    id: int
    event: Event
    subscription: str
    reason: str
    error: str
    attempts: int
    first_failed: datetime
    last_failed: datetime


class DeadLetters:
    """The kept dead letters of a bus, oldest first, at most `cap`; beyond it the oldest is let go, and `evicted` counts it."""

    def __init__(self, redrive: Callable[[DeadLetter], bool], *, cap: int = 10_000) -> None:
        self._redrive = redrive
        self._cap = cap
        self._letters: OrderedDict[int, DeadLetter] = OrderedDict()
        self._last_id = 0
        self.evicted = 0
        self.on_gone: Callable[[builtins.list[DeadLetter], bool], None] = lambda _letters, _redriven: None

    def add(
        self,
        event: Event,
        *,
        subscription: str,
        reason: str,
        error: str,
        attempts: int,
        first_failed: datetime,
        last_failed: datetime,
    ) -> DeadLetter:
        """Keep a delivery that was given up."""
        self._last_id += 1
        letter = DeadLetter(
            self._last_id,
            event,
            subscription,
            reason[:_TEXT_CAP],
            error[:_TEXT_CAP],
            attempts,
            first_failed,
            last_failed,
        )
        self._letters[letter.id] = letter
        if len(self._letters) > self._cap:
            self._letters.popitem(last=False)
            self.evicted += 1
        return letter

    def list(self, where: Callable[[DeadLetter], bool] | None = None) -> list[DeadLetter]:
        """The kept dead letters, oldest first."""
        return [letter for letter in self._letters.values() if where is None or where(letter)]

    def count(self) -> int:
        """How many are kept."""
        return len(self._letters)

    def redrive(self, where: Callable[[DeadLetter], bool] | None = None) -> int:
        """Deliver again to the subscription that failed, those whose subscription still lives; returns how many."""
        redriven = [letter for letter in self.list(where) if self._redrive(letter)]
        self._forget(redriven, redriven=True)
        return len(redriven)

    def purge(self, where: Callable[[DeadLetter], bool] | None = None) -> int:
        """Forget; returns how many."""
        gone = self.list(where)
        self._forget(gone, redriven=False)
        return len(gone)

    def _forget(self, letters: builtins.list[DeadLetter], *, redriven: bool) -> None:
        for letter in letters:
            self._letters.pop(letter.id, None)
        self.on_gone(letters, redriven)

    def __len__(self) -> int:
        return len(self._letters)

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(self.list())


def describe(error: BaseException) -> str:
    """The error as capped text with the line it came from. Never raises, whatever the error's own `str()` does."""
    try:
        text = str(error)
    except BaseException as broken:  # noqa: BLE001 - a handler's exception may do anything when it is printed
        text = f"<its str() raised {type(broken).__name__}>"
    where = ""
    trace = error.__traceback__
    if trace is not None:
        while trace.tb_next is not None:
            trace = trace.tb_next
        code = trace.tb_frame.f_code
        where = f" (in {code.co_qualname}, {code.co_filename}:{trace.tb_lineno})"
    return f"{type(error).__qualname__}: {text[:_TEXT_CAP]}{where}"[:_TEXT_CAP]
