"""Following: how a group reads on, for the parts that this process holds: pages, and of each as much at a time as a crash may repeat.

What is begun next is counted in the write that commits what ended before: whatever ended meanwhile makes room for it. Knows no outcome.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from eventbus.durability.ahead import PAGE, Ahead
from eventbus.durability.share import MOST

if TYPE_CHECKING:
    from eventbus.durability.beginning import Beginning, Wanted
    from eventbus.durability.choosing import Choosing
    from eventbus.durability.committing import Committing
    from eventbus.durability.event_cache import Found
    from eventbus.durability.share import Share
    from eventbus.durability.source import Source
    from eventbus.event import Event
    from eventbus.journal.values import Record
    from eventbus.road.lifetime import Lifetime
    from eventbus.subscription import Subscription


class Cut(Protocol):
    """A group: which part an event is in, and the parts that are here."""

    subscription: Subscription
    shares: dict[int, Share]

    def part_of(self, event: Event | None, event_id: str = "") -> int: ...


class Following:
    """Of one group."""

    def __init__(
        self,
        group: Cut,
        source: Source,
        lifetime: Lifetime,
        choosing: Choosing,
        beginning: Beginning,
        committing: Committing,
    ) -> None:
        self._group = group
        self._worker = group.subscription.worker
        self._source = source
        self._lifetime = lifetime
        self._choosing = choosing
        self._beginning = beginning
        self._committing = committing
        self._ahead = Ahead(source, lifetime)
        self._reads_for: dict[int, Share] = {}  # by part: what is read now; and up to where
        self._upto = 0
        self.waits = False  # for something to read

    def forget(self) -> None:
        """Begin anew with what was begun last of each part."""
        self._committing.expects_more(False)
        self._reads_for = {}

    def goes_on_at(self, oldest: int) -> None:
        """What lies before is gone."""
        self.forget()
        self._read_upto(oldest - 1, self._group.shares.values())

    def end(self) -> None:
        """Nothing more is read."""
        self._ahead.end()

    async def read_on(self) -> None:
        """Read once; where there is nothing, wait for more. Raises `OffsetGone`, and what the journal answers."""
        shares = self._taken()  # the page is for no others
        if shares != self._reads_for or not shares:
            await self._beginning.begun()
            self._reads_for = shares = self._taken()
            self._upto = min((share.position for share in shares.values()), default=0)
        if not shares:
            self._lifetime.look_idle()
            await self._committing.until(
                lambda: not self._lifetime.is_running or any(one.takes for one in self._group.shares.values())
            )
            return
        page = await self._ahead.fetch(self._upto)
        self._committing.expects_more(bool(page))
        if page:
            self._reads_for = shares if await self._begin(page, shares) else {}
            self._upto = page[-1].offset
            self._committing.expects_more(len(page) == PAGE)
            return
        await self._beginning.begun()
        self._lifetime.look_idle()
        if self._taken() != shares or self._is_to_end:
            return  # it was told so before anybody waited to be told: there may be much to read for a part that came
        self.waits = True
        try:
            await self._source.wait(self._upto)
        finally:
            self.waits = False

    def _taken(self) -> dict[int, Share]:
        return {part: share for part, share in self._group.shares.items() if share.takes}

    async def _begin(self, page: Sequence[Found | Record], shares: Mapping[int, Share]) -> bool:
        """All of a page that is wanted, as much at a time as a crash may repeat of each part; gives whether that was all.

        Its attempts are counted in the same write that commits what ended before: whatever ended meanwhile, the next may begin.
        """
        fresh: list[Wanted] = []
        of_share: Counter[Share] = Counter()
        for found in self._source.found(page):
            share = shares.get(self._group.part_of(found.event, found.event_id))
            if share is None or not share.takes or found.offset <= share.position:
                continue
            event = self._choosing.wanted(share, found)
            if event is None:
                continue
            wanted = share, found, event
            is_alone = found.offset in share.cursor.attempts or self._beginning.is_only_attempt
            if not is_alone:
                fresh.append(wanted)
                of_share[share] += 1
            while fresh and (is_alone or of_share[share] >= MOST):
                fresh = await self._begin_some(fresh)
                of_share = Counter(share for share, *_ in fresh)
                if self._is_to_end:
                    return False
            if is_alone:
                await self._begin_alone(wanted)
                if self._is_to_end:
                    return False
        while True:
            fresh = await self._begin_some(fresh, lambda: self._read_upto(page[-1].offset, shares.values()))
            if self._is_to_end:
                return False
            if not fresh:
                return True

    @property
    def _is_to_end(self) -> bool:
        return self._worker.is_cancelled or not self._lifetime.is_running

    async def _begin_some(self, fresh: Sequence[Wanted], then: Callable[[], None] | None = None) -> list[Wanted]:
        """As many as there is room for, once that is worth a write; gives the others. `then` is called after the last."""
        of_share = Counter(share for share, *_ in fresh)
        await self._committing.until(
            lambda: all(share.is_lost or share.room >= min(n, MOST // 2) for share, n in of_share.items())
        )
        room = {share: len(fresh) if share.is_lost else share.room for share in of_share}
        at = 0
        while at < len(fresh) and room[fresh[at][0]]:
            room[fresh[at][0]] -= 1
            at += 1
        if not self._is_to_end:
            await self._beginning.begin(fresh[:at], then if at == len(fresh) else None)
            self._committing.all()  # in the same write
        return [*fresh[at:]]

    async def _begin_alone(self, wanted: Wanted) -> None:
        share, found, _ = wanted
        if found.offset in share.cursor.attempts:
            # In flight when a process died, and perhaps what killed it: it runs alone, and before what came later.
            if self._committing.is_running:  # what ended since it began goes along with none of its writes
                await self._committing.until(lambda: share.is_lost or not share.unfinished)
            await self._beginning.begin([wanted])
            self._committing.all()  # the one before it ended: in the same write
            await self._beginning.begun()
            await self._committing.until(lambda: share.is_lost or not share.pending)
        else:
            # Counted ahead, or handled and not committed when the process dies, it would be given up as one that failed.
            await self._committing.until(lambda: _unfinished(self._group) < self._worker.policy.concurrency)
            await self._beginning.begin([wanted])

    def _read_upto(self, offset: int, shares: Iterable[Share]) -> None:
        for share in [one for one in shares if one.takes]:  # of others the next process reads on
            share.read_upto(offset)
        self._committing.flush()
        self._lifetime.look_idle()


def _unfinished(group: Cut) -> int:
    """Deliveries that were counted as begun and are not committed."""
    return sum(share.unfinished for share in group.shares.values())
