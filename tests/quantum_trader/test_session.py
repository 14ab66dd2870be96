"""Session clock and replayer: three quiet barriers per session, bars checked, nothing filled in."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from eventbus import Event, InMemoryEventBus
from quantum_trader.market.calendar import SessionBars
from quantum_trader.market.replayer import MarketReplayer
from quantum_trader.model import Bar
from quantum_trader.session import SessionClock

START = datetime(2020, 1, 1, tzinfo=UTC)


def bar(symbol: str, session: int, price: float = 10.0, *, day: int | None = None) -> Bar:
    ts = START + timedelta(days=session if day is None else day)
    return Bar(symbol, session, ts, price, price, price, price, 100)


class Given:
    """A feed of exactly these bars."""

    def __init__(self, *sessions: Sequence[Bar]) -> None:
        self._sessions = sessions

    @property
    def symbols(self) -> tuple[str, ...]:
        return tuple(sorted({bar.symbol for bars in self._sessions for bar in bars}))

    def __len__(self) -> int:
        return len(self._sessions)

    def __iter__(self) -> Iterator[SessionBars]:
        for number, bars in enumerate(self._sessions):
            yield SessionBars(number, START + timedelta(days=number), tuple(bars))


async def types(feed: Given, **options: object) -> list[str]:
    bus = InMemoryEventBus()
    seen: list[str] = []

    async def see(event: Event) -> None:
        seen.append(event.type if event.type != "market.bar" else f"bar {event['symbol']}")

    bus.subscribe("*", see)
    async with bus:
        await SessionClock(bus, MarketReplayer(feed), **options).run()  # type: ignore[arg-type]
    return seen


async def test_each_session_is_bars_then_closed_then_decide() -> None:
    feed = Given([bar("A", 0), bar("B", 0)], [bar("A", 1)])
    assert await types(feed) == [
        "bar A", "bar B", "component.heartbeat", "session.closed", "session.decide",
        "bar A", "component.heartbeat", "feed.anomaly", "session.closed", "session.decide",
    ]  # fmt: skip


async def test_nothing_of_a_phase_is_left_when_the_next_begins() -> None:
    bus = InMemoryEventBus()
    open_work: list[int] = []
    running = 0

    async def slow(event: Event) -> None:
        nonlocal running
        running += 1
        if event.type == "market.bar":
            await bus.publish("echo")
        running -= 1

    bus.subscribe("*", slow)
    clock = SessionClock(
        bus,
        MarketReplayer(Given(*[[bar("A", n)] for n in range(5)])),
        on_barrier=lambda: open_work.append(running + bus.get_stats()["pending"]),
    )
    async with bus:
        assert await clock.run() == 5
    assert open_work == [0] * 15
    assert (clock.sessions, clock.bars) == (5, 5)


async def test_run_ends_between_sessions_when_told() -> None:
    answers = iter([True, True, False])
    assert len(await types(Given(*[[bar("A", n)] for n in range(5)]), keep_going=lambda: next(answers))) == 2 * 4


async def paced(speed: float, steer: Callable[[SessionClock], Coroutine[Any, Any, object]], sessions: int = 4) -> float:
    """Virtual seconds that a run at that speed takes, while somebody steers its clock."""
    bus = InMemoryEventBus()
    feed = Given(*[[bar("A", n)] for n in range(sessions)])
    clock = SessionClock(bus, MarketReplayer(feed), speed=speed)
    loop = asyncio.get_running_loop()
    async with bus:
        began = loop.time()
        async with asyncio.TaskGroup() as group:
            group.create_task(steer(clock))
            assert await clock.run() == sessions
        return loop.time() - began


async def idle(_clock: SessionClock) -> None:
    """Steer nothing."""


@pytest.mark.virtual_time
async def test_speed_is_sessions_a_second() -> None:
    assert await paced(2.0, idle) == pytest.approx(1.5)


@pytest.mark.virtual_time
async def test_pause_holds_until_resumed() -> None:
    async def steer(clock: SessionClock) -> None:
        await asyncio.sleep(0.75)
        clock.pace.pause()
        await asyncio.sleep(100)
        assert (clock.pace.is_paused, clock.sessions) == (True, 2)
        clock.pace.resume()

    assert await paced(2.0, steer) == pytest.approx(101.25)


@pytest.mark.virtual_time
async def test_another_speed_is_heard_in_the_middle_of_a_wait() -> None:
    async def steer(clock: SessionClock) -> None:
        await asyncio.sleep(1)
        clock.pace.set_speed(10.0)

    assert await paced(0.01, steer) == pytest.approx(1.2)


async def test_speed_that_is_none_is_refused_while_it_runs() -> None:
    clock = SessionClock(InMemoryEventBus(), MarketReplayer(Given()))
    for speed in (-1.0, float("nan"), float("inf")):
        with pytest.raises(ValueError, match="give 0"):
            clock.pace.set_speed(speed)
    assert clock.pace.speed == 0.0


def test_speed_below_zero_is_refused() -> None:
    with pytest.raises(ValueError, match="give 0"):
        SessionClock(InMemoryEventBus(), MarketReplayer(Given()), speed=-1)


def test_dropped_bars_are_told_and_not_delivered() -> None:
    incoherent = Bar("A", 1, START + timedelta(days=1), 10.0, 9.0, 8.0, 10.0, 100)
    duplicate = bar("A", 2, day=0)
    sessions = list(MarketReplayer(Given([bar("A", 0)], [incoherent], [duplicate])))
    assert [[event.kind for event in one.anomalies] for one in sessions] == [
        [],
        ["BAD_OHLC", "MISSING"],
        ["DUPLICATE", "MISSING"],
    ]
    assert [one.missing for one in sessions] == [(), ("A",), ("A",)]
    assert [len(one.bars) for one in sessions] == [1, 0, 0]


def test_jump_is_delivered_with_a_warning() -> None:
    _, second = MarketReplayer(Given([bar("A", 0, 10.0)], [bar("A", 1, 20.0)]))
    assert len(second.bars) == 1
    assert [event.kind for event in second.anomalies] == ["JUMP"]


def test_symbol_that_lists_late_is_not_missing_before() -> None:
    first, second = MarketReplayer(Given([bar("A", 0)], [bar("A", 1), bar("B", 1)]))
    assert (first.missing, second.missing) == ((), ())


def test_bar_event_gives_back_the_bar_it_was_made_of() -> None:
    given = bar("A", 0)
    (session,) = MarketReplayer(Given([given]))
    assert session.bars[0].bar == given
    assert session.bars[0].bar is session.bars[0].bar
