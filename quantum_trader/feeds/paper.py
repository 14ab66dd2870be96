"""Paper: a live feed as the feed of a run: its sessions by the clock on the wall, and those that the journal has already.

A run that goes on is told again what its journal has, session by session, and then what comes. Nothing is acted on before it is
journalled, so both ways through it decide the same.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar, Final

from eventbus import Event
from quantum_trader.events import FeedAnomalyEvent, MarketBarEvent, SessionClosedEvent
from quantum_trader.feeds.assembling import Assembled, Assembler
from quantum_trader.identity import RunIds
from quantum_trader.market.calendar import Rhythm, SessionBars
from quantum_trader.market.replayer import MarketReplayer, ReplaySession
from quantum_trader.market.validate import Anomaly, AnomalyKind
from quantum_trader.model import Bar

_DAY_S: Final = 86_400
_TRADING_DAY_S: Final = 23_400  # six hours and a half
_MOST: Final = 10_000  # items that wait while a session is decided on
_OVER: Final = object()
_LOOK: Final = object()


class FeedBroken(Exception):
    """A live feed raised. What came is journalled; mend the feed and resume the run."""

    def __init__(self, name: str, error: BaseException) -> None:
        super().__init__(f"feed {name} broke: {type(error).__name__}: {error}; mend it, then go on with qt resume")


@dataclass(frozen=True, slots=True)
class _Recalled:
    """A session that the journal has, as it was told."""

    session: int
    ts: datetime
    bars: tuple[Bar, ...]
    doubts: tuple[Anomaly, ...]
    missing: tuple[str, ...]


class PaperFeed:
    """The sessions of a live feed so far. A `Feed`: iterating gives those there are, not those to come."""

    warnings: tuple[str, ...] = ()
    RECALLED: ClassVar = frozenset({MarketBarEvent.type, FeedAnomalyEvent.type, SessionClosedEvent.type})

    def __init__(
        self,
        live: Any,
        name: str,
        *,
        started: datetime,
        grace: float = 5.0,
    ) -> None:
        self.name = name
        self.started = started
        self.symbols: tuple[str, ...] = tuple(sorted(set(live.symbols)))
        self.sessions: list[SessionBars] = []
        self.recalled: list[_Recalled] = []
        self.live = live
        self._queue: asyncio.Queue[object] = asyncio.Queue(_MOST)
        self.is_stopped = False
        self.assembler = Assembler(
            self.symbols, int(live.interval_s), grace=grace, in_order=getattr(live, "is_replay", False)
        )

    def __len__(self) -> int:
        return len(self.sessions)

    def __iter__(self) -> Iterator[SessionBars]:
        return iter(self.sessions)

    @property
    def bar_count(self) -> int:
        """Bars so far, of all symbols together."""
        return sum(len(session.bars) for session in self.sessions)

    @property
    def rhythm(self) -> Rhythm:
        """What its interval comes to in a year of trading days; the configuration may say otherwise."""
        interval = int(self.live.interval_s)
        a_day = max(1, round(_TRADING_DAY_S / interval)) if interval < _DAY_S else 1
        return Rhythm(interval, a_day, 252 * a_day)

    def digests(self) -> dict[str, str]:
        """Nothing is known of bars to come."""
        return {}

    def recall(self, events: Iterable[Event]) -> None:
        """Take the bars, doubts and ends of sessions that a journal has, in its order."""
        bars: dict[int, list[Bar]] = {}
        doubts: dict[int, list[Anomaly]] = {}
        times: dict[int, datetime] = {}
        missing: dict[int, tuple[str, ...]] = {}
        for event in events:
            match event:
                case MarketBarEvent():
                    bars.setdefault(event.session, []).append(event.bar)
                case FeedAnomalyEvent():
                    doubt = Anomaly(event.symbol, event.session, AnomalyKind(event.kind), event.detail)
                    doubts.setdefault(event.session, []).append(doubt)
                case SessionClosedEvent():
                    missing[event.session] = event.missing
                case _:
                    continue
            times.setdefault(event["session"], event.timestamp)
        for session in sorted(times):
            told = tuple(bars.get(session, ()))
            one = _Recalled(session, times[session], told, tuple(doubts.get(session, ())), missing.get(session, ()))
            self.recalled.append(one)
            self.sessions.append(SessionBars(session, one.ts, told))
            self.assembler.replayed(session, one.ts, told)

    def stop(self) -> None:
        """End after the session in hand; what has come of the next is left."""
        self.is_stopped = True
        if not self._queue.full():
            self._queue.put_nowait(_LOOK)

    async def coming(self) -> AsyncGenerator[Assembled, None]:
        """Each session as it closes. Raises `FeedBroken`."""
        clock = asyncio.get_running_loop().time
        self.assembler.listen(clock())
        reader = asyncio.create_task(self._read())
        try:
            while not self.is_stopped:
                item = await self._next(clock())
                now = clock()
                if item is not _LOOK and item is not _OVER:
                    self.assembler.take(item, now)
                for closed in self.assembler.due(now, is_over=item is _OVER):
                    self.sessions.append(SessionBars(closed.session, closed.ts, closed.bars))
                    yield closed
                if item is _OVER:
                    if (error := reader.exception() if reader.done() else None) is not None:
                        raise FeedBroken(self.name, error) from error
                    return
        finally:
            reader.cancel()
            await asyncio.gather(reader, return_exceptions=True)

    async def _next(self, now: float) -> object:
        """The next item, or that it is time to look what is due."""
        deadline = self.assembler.deadline()
        if deadline is None:
            return await self._queue.get()
        try:
            async with asyncio.timeout(max(0.0, deadline - now)):
                return await self._queue.get()
        except TimeoutError:
            return _LOOK

    async def _read(self) -> None:
        try:
            async for item in self.live:
                await self._queue.put(item)
        finally:
            await self._queue.put(_OVER)


class PaperReplayer(MarketReplayer):
    """The sessions of a `PaperFeed` from `first` on, as events: those that the journal has, then those that come."""

    def __init__(self, feed: PaperFeed, *, interval_s: int, first: int = 0, ids: RunIds | None = None) -> None:
        super().__init__(feed, interval_s=interval_s, first=first, ids=ids)
        self._paper = feed
        self._begins = first

    async def __aiter__(self) -> AsyncGenerator[ReplaySession, None]:
        for recalled in list(self._paper.recalled):
            if recalled.session >= self._begins:
                yield self._told(recalled)
        async with aclosing(self._paper.coming()) as coming:
            async for closed in coming:
                yield self._told(closed)

    def _told(self, one: Assembled | _Recalled) -> ReplaySession:
        bars = tuple(self._bar(bar) for bar in one.bars)
        anomalies = tuple(self._anomaly(number, doubt, one.ts) for number, doubt in enumerate(one.doubts))
        heartbeats = (self._heartbeat(SessionBars(one.session, one.ts, one.bars)),) if bars else ()
        present = tuple(bar.symbol for bar in one.bars)
        return ReplaySession(one.session, one.ts, bars, heartbeats, anomalies, present, one.missing)
