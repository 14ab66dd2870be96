"""Dead letters: deliveries nobody could handle, kept with the reason until somebody redrives or purges them.

Holds capped text, never exception objects: a traceback would pin the frames of every failure. Knows how to list; the bus
gives it the function that delivers again.
"""

from __future__ import annotations

import builtins
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from datetime import datetime
from typing import Protocol

from eventbus.bounds import callable_with
from eventbus.event import Event
from eventbus.failure import TRACEBACK, Failure
from eventbus.wording import capped

_MOST = 10_000


@dataclass(frozen=True, slots=True)
class DeadLetter:
    """One delivery that was given up."""

    id: int
    event: Event
    subscription: str
    reason: str
    failure: Failure | str = field(repr=False)
    attempts: int
    first_failed: datetime
    last_failed: datetime

    @property
    def error(self) -> str:
        """What was raised and where, then the traceback: at most 8 KiB."""
        return self.failure if isinstance(self.failure, str) else self.failure.told

    @property
    def traceback(self) -> str:
        """The traceback as Python prints it; empty where there is none."""
        if isinstance(self.failure, Failure):
            return self.failure.traceback
        _text, begins, rest = self.failure.partition(f"\n{TRACEBACK}\n")
        return f"{TRACEBACK}\n{rest}" if begins else ""


class Shelf(Protocol):
    """Where dead letters are kept besides memory."""

    def letter_added(self, letter: DeadLetter) -> None:
        """Keep this one too."""
        ...

    async def letters_purged(self, letters: list[DeadLetter]) -> None:
        """These were thrown away."""
        ...


class DeadLetters:
    """The kept dead letters of a bus, oldest first, at most 10,000; beyond that the oldest is let go."""

    def __init__(self, redrive: Callable[[DeadLetter], bool], shelf: Shelf | None = None) -> None:
        self._redrive = redrive
        self._shelf = shelf
        self._letters: OrderedDict[int, DeadLetter] = OrderedDict()
        self._last_id = 0

    def add(
        self,
        event: Event,
        *,
        subscription: str,
        reason: str,
        error: str | Failure,
        attempts: int,
        first_failed: datetime,
        last_failed: datetime,
        is_shelved: bool = False,
    ) -> DeadLetter:
        """Keep a delivery that was given up. With `is_shelved` somebody else keeps it besides memory."""
        self._last_id += 1
        letter = DeadLetter(
            self._last_id,
            event,
            subscription,
            capped(reason),
            error if isinstance(error, Failure) else capped(error),
            attempts,
            first_failed,
            last_failed,
        )
        self._letters[letter.id] = letter
        if len(self._letters) > _MOST:
            self._letters.popitem(last=False)
        if self._shelf is not None and not is_shelved:
            self._shelf.letter_added(letter)
        return letter

    def count(self) -> int:
        """How many are kept."""
        return len(self._letters)

    async def list(self, where: Callable[[DeadLetter], bool] | None = None) -> builtins.list[DeadLetter]:
        """The kept dead letters, oldest first."""
        return self._chosen(where)

    async def redrive(self, where: Callable[[DeadLetter], bool] | None = None) -> int:
        """Deliver again to the subscription that failed, those whose subscription still lives; returns how many.

        Raises `BusStopped` after a shutdown; what was not delivered again is kept.
        """
        return self.deliver_again(self._chosen(where))

    async def purge(self, where: Callable[[DeadLetter], bool] | None = None) -> int:
        """Forget; returns how many."""
        gone = self._chosen(where)
        self._forget(gone)
        if self._shelf is not None and gone:
            await self._shelf.letters_purged(gone)
        return len(gone)

    def deliver_again(self, letters: Iterable[DeadLetter]) -> int:
        """For the bus itself: `redrive` of these, at once."""
        redriven: builtins.list[DeadLetter] = []
        try:
            redriven.extend(letter for letter in letters if self._redrive(letter))
        finally:
            self._forget(redriven)
        return len(redriven)

    def _chosen(self, where: Callable[[DeadLetter], bool] | None) -> builtins.list[DeadLetter]:
        if where is not None:
            callable_with("where", where, "a dead letter")
        return [letter for letter in self if where is None or where(letter)]

    def _forget(self, letters: builtins.list[DeadLetter]) -> None:
        for letter in letters:
            self._letters.pop(letter.id, None)

    def __len__(self) -> int:
        return len(self._letters)

    def __iter__(self) -> Iterator[DeadLetter]:
        return iter(tuple(self._letters.values()))
