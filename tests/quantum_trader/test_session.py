"""Session clock and replayer: three quiet barriers per session, bars checked, nothing filled in."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta

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
