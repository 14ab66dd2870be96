"""Curve: equity beside its benchmark for whoever draws it, in columns, thinned out so that no run is too long to send."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from decimal import Decimal
from typing import Any, Final, Protocol

from eventbus import Event
from quantum_trader.events import CharacteristicCreatedEvent, CharacteristicUpdatedEvent, KillSwitchChangedEvent
from quantum_trader.model import KillMode, RiskMode
from quantum_trader.web.folding import Hearing

MOST: Final = 2_000
"""Points that are sent; from there on, every second one is left out."""

MODES: Final = (None, *RiskMode)
_BASIS_POINTS: Final = 10_000


class Point(Protocol):
    """The account and the benchmark at the end of one session, in account currency."""

    @property
    def session(self) -> int: ...
    @property
    def ts(self) -> datetime: ...
    @property
    def equity(self) -> Decimal: ...
    @property
    def benchmark(self) -> float: ...
    @property
    def drawdown(self) -> float: ...
    @property
    def mode(self) -> RiskMode | None: ...


class Curve:
    """The points of `points` as they come. Reading it costs what was added since."""

    def __init__(self, points: Sequence[Point]) -> None:
        self._points = points
        self._seen = 0
        self._stride = 1
        self._rows: list[tuple[int, int, int, int, int]] = []
        self._levels: tuple[float, ...] = ()
        self._stops: list[list[Any]] = []

    def hears(self) -> Hearing:
        return {
            CharacteristicCreatedEvent: self._created,
            CharacteristicUpdatedEvent: self._created,
            KillSwitchChangedEvent: self._stopped,
        }

    def _created(self, event: Event) -> None:
        settings = event.get("settings") or event.get("changes") or {}
        if "levels" in settings:
            self._levels = tuple(settings["levels"])

    def _stopped(self, event: Event) -> None:
        at = _minute(event.timestamp)
        if self._stops and self._stops[-1][1] is None:
            self._stops[-1][1] = at
        if event["mode"] is not KillMode.OFF:
            self._stops.append([at, None, event["mode"].value])

    def columns(self) -> dict[str, list[Any]]:
        """The kept points: times in minutes since 1970, money in whole units, drawdown in basis points."""
        self._read()
        names = ("minute", "equity", "benchmark", "drawdown", "mode")
        return {name: [row[at] for row in self._rows] for at, name in enumerate(names)}

    def view(self) -> dict[str, Any]:
        """All of it, and the last point exact."""
        last = self._points[-1] if self._points else None
        return {
            **self.columns(),
            "modes": [None, *(mode.value for mode in RiskMode)],
            "levels": list(self._levels),
            "stops": self._stops,
            "every": self._stride,
            "last": None
            if last is None
            else {
                "session": last.session,
                "minute": _minute(last.ts),
                "equity": f"{last.equity:.2f}",
                "benchmark": f"{last.benchmark:.2f}",
                "drawdown": last.drawdown,
            },
        }

    def _read(self) -> None:
        found = len(self._points)
        for at in range(self._seen, found):
            if at % self._stride == 0:
                self._rows.append(_row(self._points[at]))
                if len(self._rows) > MOST:
                    self._stride *= 2
                    del self._rows[1::2]
        self._seen = found


def _minute(moment: datetime) -> int:
    return int(moment.timestamp()) // 60


def _row(point: Point) -> tuple[int, int, int, int, int]:
    return (
        _minute(point.ts),
        round(point.equity),
        round(point.benchmark),
        round(point.drawdown * _BASIS_POINTS),
        MODES.index(point.mode),
    )
