"""Archive: looking things up in what analytics wrote of a run, beside the run that writes it or long after."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from quantum_trader.events import CharacteristicDeletedEvent
from quantum_trader.monitoring.analytics import FILE_NAME, NoRun


@dataclass(frozen=True, slots=True)
class ChartSummary:
    """A control chart so far; `open` violations are those that nobody has acknowledged."""

    chart: str
    points: int
    phase: str
    centre: float | None
    sigma: float | None
    violations: int
    open: int


@dataclass(frozen=True, slots=True)
class ChartPoint:
    """One judged point of a control chart."""

    sample_id: int
    session: int
    date: str  # of the session; "" before it is over
    value: float
    z: float | None
    zone: str
    in_control: bool
    phase: str


@dataclass(frozen=True, slots=True)
class FoundViolation:
    """A broken rule; `acknowledged_by` is "" while it is open."""

    violation_id: str
    chart: str
    session: int
    date: str  # of the session; "" before it is over
    rule_id: int
    severity: str
    acknowledged_by: str
    reason: str


class Archive:
    """The file in the folder `path` of a run. Every question raises `NoRun` when there is none to read."""

    def __init__(self, path: Path) -> None:
        self._file = path / FILE_NAME

    def charts(self) -> tuple[ChartSummary, ...]:
        """Every chart with points, by name."""
        rows = self._ask(
            "SELECT s.chart, count(*), (SELECT phase FROM samples WHERE chart = s.chart ORDER BY sample_id DESC LIMIT 1),"
            " (SELECT centre FROM samples WHERE chart = s.chart ORDER BY sample_id DESC LIMIT 1),"
            " (SELECT sigma FROM samples WHERE chart = s.chart ORDER BY sample_id DESC LIMIT 1),"
            " (SELECT count(*) FROM violations v WHERE v.chart = s.chart),"
            " (SELECT count(*) FROM violations v WHERE v.chart = s.chart"
            "  AND v.violation_id NOT IN (SELECT violation_id FROM acknowledgements))"
            " FROM samples s GROUP BY s.chart ORDER BY s.chart"
        )
        return tuple(ChartSummary(*row) for row in rows)

    def characteristics(self) -> dict[str, dict[str, Any]]:
        """The settings of every characteristic there is now, by name."""
        found: dict[str, dict[str, Any]] = {}
        rows = self._ask("SELECT type, event FROM events WHERE type GLOB 'spc.characteristic_*' ORDER BY number")
        for kind, text in rows:
            try:
                told = json.loads(text)
            except ValueError as cause:
                raise NoRun(self._file, f"not a readable record ({type(cause).__name__})") from cause
            if kind == CharacteristicDeletedEvent.type:
                del found[told["name"]]
            else:
                found.setdefault(told["name"], {}).update(told.get("settings") or told.get("changes") or {})
        return found

    def points(self, chart: str, *, newest: int) -> tuple[ChartPoint, ...]:
        """The newest points of a chart, oldest first."""
        rows = self._ask(
            "SELECT sample_id, session, substr(coalesce(ts, ''), 1, 10), value, z, zone, in_control, phase"
            " FROM samples LEFT JOIN equity USING (session) WHERE chart = ? ORDER BY sample_id DESC LIMIT ?",
            (chart, newest),
        )
        return tuple(
            ChartPoint(number, session, date, value, z, zone, bool(in_control), phase)
            for number, session, date, value, z, zone, in_control, phase in reversed(rows)
        )

    def violations(self, *, chart: str | None = None, open_only: bool = False) -> tuple[FoundViolation, ...]:
        """Violations in the order in which they came."""
        rows = self._ask(
            "SELECT v.violation_id, v.chart, v.session, substr(coalesce(e.ts, ''), 1, 10), v.rule_id, v.severity,"
            " coalesce(a.user, ''), coalesce(a.reason, '') FROM violations v"
            " LEFT JOIN acknowledgements a USING (violation_id) LEFT JOIN equity e ON e.session = v.session"
            " WHERE (? IS NULL OR v.chart = ?) AND (NOT ? OR a.user IS NULL) ORDER BY v.session, v.rowid",
            (chart, chart, open_only),
        )
        return tuple(FoundViolation(*row) for row in rows)

    def dates(self) -> dict[int, str]:
        """The date of each session that is over."""
        return dict(self._ask("SELECT session, substr(ts, 1, 10) FROM equity"))

    def _ask(self, question: str, values: Sequence[Any] = ()) -> list[Any]:
        if not self._file.is_file():
            raise NoRun(self._file.parent, "nothing is recorded there yet")
        try:
            with closing(sqlite3.connect(f"{self._file.resolve().as_uri()}?mode=ro", uri=True)) as db:
                return db.execute(question, values).fetchall()
        except (sqlite3.Error, UnicodeDecodeError) as cause:
            raise NoRun(self._file, f"not a readable record ({type(cause).__name__})") from cause
