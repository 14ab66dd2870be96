"""Beginning: what a group read and wants is counted as begun, durably, and only then runs; what was begun before runs as its next attempt.

A crash loop cannot retry a poison event for ever: each start was counted. Knows no page, and nothing of outcomes.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from itertools import groupby
from typing import TYPE_CHECKING

from eventbus.durability.passage import Passage, run_of
from eventbus.durability.trouble import Patience
from eventbus.errors import JournalError, LeaseLost
from eventbus.policy import UNPLANNED_ATTEMPTS
from eventbus.road.arrival import deliver, resume
from eventbus.road.part import Part

if TYPE_CHECKING:
    from eventbus.durability.event_cache import Found
    from eventbus.durability.passage import Told
    from eventbus.durability.share import Share
    from eventbus.durability.source import Source
    from eventbus.durability.trouble import Trouble
    from eventbus.event import Event
    from eventbus.road.lifetime import Lifetime
    from eventbus.road.worker import Worker

Wanted = tuple["Share", "Found", "Event"]
_AT_ONCE = 2  # batches: one is counted, and the next waits for the same write as what ends meanwhile


class Beginning:
    """Of one group, whose `told` learns what becomes of each. `lost` is called with a share that is another process's by now, `until`
    waits for something that a commit or an end of deliveries makes so."""

    def __init__(
        self,
        worker: Worker,
        told: Told,
        source: Source,
        lifetime: Lifetime,
        trouble: Trouble,
        lost: Callable[[Share], None],
        until: Callable[[Callable[[], bool]], Awaitable[None]],
    ) -> None:
        self._worker = worker
        self._told = told
        self._source = source
        self._lifetime = lifetime
        self._trouble = trouble
        self._lost = lost
        self._until = until
        self._under_way: deque[asyncio.Task[bool]] = deque()  # batches that are counted, the oldest first

    @property
    def is_only_attempt(self) -> bool:
        """Does the policy allow one attempt and no more, whatever becomes of the process?"""
        retry = self._worker.policy.retry
        return retry is not None and retry.attempts == 1

    def give_up(self, share: Share, found: Found, event: Event, reason: str, error: BaseException) -> None:
        """It never runs: what was to be asked of it raised."""
        delivery = resume(self._worker, self._part(share, [(found, event)]), 0)
        share.begins(1)
        self._worker.endings.give_up(self._worker, delivery, reason, error)

    def _part(self, share: Share, run: Sequence[tuple[Found, Event]]) -> Part:
        max_age = self._worker.policy.max_age_for(run[0][1].__event__)
        burst = Passage(self._told, share, run)
        max_age_ns = None if max_age is None else int(max_age * 1e9)
        part = Part(burst, self._worker, burst.events, None, is_lossless=False, max_age_ns=max_age_ns)
        burst.routed((part,), 1)
        return part

    # --- one batch after the other ---------------------------------------------------------------------------------

    def start(self) -> None:
        """The bus runs, perhaps in another loop."""
        self._under_way.clear()

    async def begin(self, wanted: Sequence[Wanted], then: Callable[[], None] | None = None) -> None:
        """Have an attempt of each counted, durably, let them run, and call `then`. Returns when that is under way: what comes next
        may be read meanwhile, and counted in the next write. Raises what the journal answered to an earlier batch."""
        while len(self._under_way) >= _AT_ONCE:
            await self._oldest()
        by_share: dict[Share, list[tuple[Found, Event]]] = {}
        for share, found, event in wanted:
            if not share.is_lost:
                by_share.setdefault(share, []).append((found, event))
        for share, run in by_share.items():
            share.begins(len(run))  # from here on it is not given to another process
        if not (by_share or self._under_way):
            if then is not None:
                then()
            return
        before = self._under_way[-1] if self._under_way else None
        self._under_way.append(self._lifetime.crew.start(self._begin(by_share, before, then)))

    async def begun(self) -> None:
        """Wait until all of it runs, or does not: then it raises what the journal answered."""
        while self._under_way:
            await self._oldest()

    async def _oldest(self) -> None:
        oldest = self._under_way[0]
        await asyncio.wait([oldest])
        if self._under_way and self._under_way[0] is oldest:
            self._under_way.popleft()
            oldest.result()

    async def _begin(
        self,
        by_share: Mapping[Share, list[tuple[Found, Event]]],
        before: asyncio.Task[bool] | None,
        then: Callable[[], None] | None,
    ) -> bool:
        """Gives whether what comes after it may run: not where it comes to be read again."""
        ready: dict[Share, Mapping[int, int]] = {}
        failures: list[BaseException] = []
        goes_on = False
        try:
            counting = [self._count(share, _offsets(run)) for share, run in by_share.items()]
            for share, attempts in zip(by_share, await asyncio.gather(*counting, return_exceptions=True), strict=True):
                if not isinstance(attempts, BaseException):
                    ready[share] = attempts
                elif isinstance(attempts, LeaseLost):
                    self._lost(share)
                else:
                    failures.append(attempts)
            if before is not None:
                await asyncio.wait([before])
            # What ended before them is committed first, where a crash could repeat too many.
            await self._until(lambda: all(share.is_lost or share.is_within for share in ready))
            goes_on = not self._worker.is_cancelled and _went_well(before)
        finally:
            for share, run in by_share.items():
                if not goes_on or share not in ready:
                    share.did_not_start(ready.get(share, {}))
                    self._let_go(share, run)
        if goes_on:
            for share, attempts in ready.items():
                self._let_run(share, by_share[share], attempts)
        if failures:
            raise failures[0]
        if goes_on and then is not None:
            then()
        return goes_on

    async def _count(self, share: Share, offsets: Sequence[int]) -> Mapping[int, int]:
        known = share.counts(offsets)
        if not known:
            return await self._source.record_attempts(share.lease, offsets)
        others = [offset for offset in offsets if offset not in known]
        try:
            return {**known, **(await self._source.record_attempts(share.lease, others) if others else {})}
        except BaseException:
            share.did_not_start(known)
            raise

    def _let_go(self, share: Share, wanted: Sequence[tuple[Found, Event]]) -> None:
        """What was to run does not: whoever waits for its end waits no longer."""
        share.ended(len(wanted))
        self._told.look_up()

    def _let_run(self, share: Share, wanted: Sequence[tuple[Found, Event]], attempts: Mapping[int, int]) -> None:
        if not share.may_start(self._lifetime.clock.monotonic_ns()):
            self._let_go(share, wanted)
            self._lost(share)
            return
        is_aged = self._worker.policy.max_age is not None
        for (is_first, *_), run in groupby(
            wanted, lambda each: (attempts[each[0].offset] == 1, *run_of(each, is_aged))
        ):
            if is_first:
                deliver(self._worker, self._part(share, [*run]))
            else:
                for each in run:
                    self._resume(share, each, attempts[each[0].offset] - 1)
        share.begun_upto(wanted[-1][0].offset)

    def _resume(self, share: Share, each: tuple[Found, Event], behind: int) -> None:
        """A delivery that so many attempts were made of before."""
        retry = self._worker.policy.retry
        delivery = resume(self._worker, self._part(share, [each]), behind)
        if behind >= (retry.attempts if retry else UNPLANNED_ATTEMPTS):
            reason = f"attempts that began and did not end: {behind}"
            self._worker.endings.give_up(self._worker, delivery, reason)
        else:
            self._worker.put_back(delivery)

    async def count_again(self, share: Share, offset: int) -> None:
        """Another attempt begins."""
        patience = Patience()
        while not (self._worker.is_cancelled or share.is_lost):
            try:
                await self._source.record_attempts(share.lease, [offset])
            except LeaseLost:
                self._lost(share)
            except JournalError as error:
                self._trouble.tell("retry waits for its journal", error, group=self._worker.name)
                await patience.wait()
            else:
                return


def _went_well(before: asyncio.Task[bool] | None) -> bool:
    return before is None or (not before.cancelled() and before.exception() is None and before.result())


def _offsets(run: Iterable[tuple[Found, Event]]) -> list[int]:
    return [found.offset for found, _ in run]
