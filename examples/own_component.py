"""A component of one's own: hears fills, publishes an event of its own, remembers, and is part of the run's digest."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from eventbus import Event, EventBus
from quantum_trader.api import Bars, Context, Decision, Strategy, Target, load_run
from quantum_trader.cli import run
from quantum_trader.config import Config
from quantum_trader.events import TradeExecutedEvent


class StreakEvent(Decision, Event, type="desk.streak"):
    """So many fills in a row were on one side."""

    side: str
    length: int
    session: int


class StreakDesk:
    """Counts fills in a row on one side."""

    publishes = (StreakEvent,)

    def __init__(self, bus: EventBus) -> None:
        self._bus = bus
        self._side, self._length = "", 0
        bus.subscribe(TradeExecutedEvent, self.on_trade, name="desk.trade")
        bus.subscribe(StreakEvent, self.on_streak, name="desk.streak")

    async def on_trade(self, event: TradeExecutedEvent) -> None:
        self._length = self._length + 1 if event.side.value == self._side else 1
        self._side = event.side.value
        if self._length >= 2:
            streak = StreakEvent(
                side=self._side, length=self._length, session=event.session, timestamp=event.timestamp, source="desk"
            )
            await self._bus.publish(streak)

    async def on_streak(self, event: StreakEvent) -> None:
        print(f"{event.timestamp.date()}: {event.length} fills in a row were a {event.side}")

    def state(self) -> dict[str, Any]:
        return {"side": self._side, "length": self._length}

    def restore(self, state: Mapping[str, Any]) -> None:
        self._side, self._length = state["side"], state["length"]


def build(bus: EventBus, config: Config) -> StreakDesk:
    """What --with own_component.py:build calls."""
    return StreakDesk(bus)


class Alternate(Strategy):
    """Something to trade: in and out every ten sessions."""

    def on_bar(self, bars: Bars, ctx: Context) -> Target | None:
        return Target(weight=0.1 * (ctx.session // 10 % 2)) if ctx.session % 10 == 0 else None


def main() -> None:
    with tempfile.TemporaryDirectory() as temporary:
        command = ["run", __file__, "--symbols", "AAPL,IBM,MSFT", "--from", "2004-01-01", "--to", "2004-04-30"]
        runs = []
        for name, brought in (("with", ["--with", f"{__file__}:build"]), ("without", [])):
            assert run([*command, *brought, "--output", str(Path(temporary) / name)]) == 0
            runs.append(load_run(Path(temporary) / name, frames="polars"))
        told = [(one.decisions["type"] == "desk.streak").sum() for one in runs]
        print(f"streaks told: {told[0]} with it, {told[1]} without")
        assert told[0] > 0 == told[1]
        assert runs[0].report["digest"] != runs[1].report["digest"]
        assert run(["verify", str(runs[0].path)]) == 0


if __name__ == "__main__":
    main()
