"""Facts: everything that the page of a run shows, as plain values, from what analytics wrote of it. Draws nothing."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from datetime import datetime
from pathlib import Path
from typing import Any, Final

from quantum_trader.monitoring.analytics import load_record
from quantum_trader.monitoring.figures import drawdown_curve, figures
from quantum_trader.monitoring.record import RunRecord, closed_trades
from quantum_trader.monitoring.report import make_report
from quantum_trader.runs.folder import RunFolder
from quantum_trader.runs.page.journeys import journeys
from quantum_trader.runs.page.strategies import strategies

_MOST_POINTS: Final = 4_000  # of one curve: more than a screen has pixels
_MOST_EPISODES: Final = 200


def facts(folder: Path) -> dict[str, Any]:
    """The page of the run in `folder`, in JSON values. Times are seconds since 1970. Raises `NoRun`."""
    record, completed = load_record(folder)
    report = make_report(record)
    file = folder / "analytics.sqlite"
    with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as db:
        trips = list(journeys(db, record.trades))
        dates = dict(db.execute("SELECT session, substr(ts, 1, 10) FROM equity").fetchall())
        return {
            "title": f"{report.first} to {report.last}",
            "run": folder.resolve().name,
            "own": _own(folder),
            "digest": completed.digest,
            "decisions": completed.det_events,
            "report": report.as_dict(),
            "figures": _figures(record, trials=_trials(db)).as_dict(),
            "curve": _curve(db, record),
            "prices": _prices(db, record),
            "months": months(record),
            "trips": [trip.as_dict() for trip in trips],
            "strategies": strategies(db, trips),
            "charts": list(_charts(db, dates)),
            "episodes": list(_episodes(db)),
            "events": dict(db.execute("SELECT type, count(*) FROM events GROUP BY type ORDER BY 2 DESC, 1").fetchall()),
            "caution": report.caution,
        }


def _own(folder: Path) -> dict[str, Any]:
    """The strategy of a user's own that the run was of; without a name where there was none."""
    own = RunFolder(folder).config().own
    return {"strategy": own.strategy_id, "params": dict(own.params), "gated": own.gated}


def _figures(record: RunRecord, *, trials: int) -> Any:
    equity = [float(record.cash), *(float(point.equity) for point in record.points)]
    results = [float(result) for result in closed_trades(record.trades)]
    return figures(equity, results, periods=record.periods_per_year, trials=trials)


def _trials(db: sqlite3.Connection) -> int:
    """How many strategies were ever tried in the run."""
    (made,) = db.execute("SELECT count(*) FROM events WHERE type = 'strategy.created'").fetchone()
    return max(1, int(made))


def _curve(db: sqlite3.Connection, record: RunRecord) -> dict[str, list[Any]]:
    """The account session by session, thinned where there are more than a screen can show."""
    points = list(record.points)
    equity = [float(point.equity) for point in points]
    below = drawdown_curve([float(record.cash), *equity])[1:]
    gross = [row[0] for row in db.execute("SELECT json_extract(portfolio, '$.gross') FROM equity ORDER BY session")]
    chosen = _thinned(len(points))
    return {
        "ts": [int(points[at].ts.timestamp()) for at in chosen],
        "equity": [round(equity[at], 2) for at in chosen],
        "benchmark": [round(points[at].benchmark, 2) for at in chosen],
        "drawdown": [round(below[at], 6) for at in chosen],
        "exposure": [round(float(gross[at]) / equity[at], 4) if equity[at] else 0.0 for at in chosen],
        "mode": [None if (mode := points[at].mode) is None else mode.value for at in chosen],
    }


def _prices(db: sqlite3.Connection, record: RunRecord) -> dict[str, dict[str, list[Any]]]:
    """The closes of each symbol, and the fills on them."""
    found: dict[str, dict[str, list[Any]]] = {}
    rows = db.execute(
        "SELECT json_extract(event, '$.symbol'), json_extract(event, '$.timestamp'), json_extract(event, '$.close')"
        " FROM events WHERE type = 'market.bar' ORDER BY number"
    )
    for symbol, ts, close in rows:
        one = found.setdefault(symbol, {"ts": [], "close": [], "fills": []})
        one["ts"].append(_seconds(ts))
        one["close"].append(close)
    for one in found.values():
        chosen = _thinned(len(one["ts"]))
        one["ts"], one["close"] = ([one[name][at] for at in chosen] for name in ("ts", "close"))
    for trade in record.trades:
        if trade.symbol in found:
            line = [int(trade.timestamp.timestamp()), float(trade.price), trade.side.value, trade.trigger.value]
            found[trade.symbol]["fills"].append(line)
    return dict(sorted(found.items()))


def _thinned(count: int) -> list[int]:
    step = max(1, -(-count // _MOST_POINTS))
    return sorted({*range(0, count, step), *([count - 1] if count else [])})


def months(record: RunRecord) -> list[dict[str, Any]]:
    """A row for each year: the return of each of its months, None where it has none, and of the year."""
    ends: dict[tuple[int, int], float] = {}
    for point in record.points:
        ends[point.ts.year, point.ts.month] = float(point.equity)
    before, year_before, rows = float(record.cash), float(record.cash), []
    for year in sorted({year for year, _ in ends}):
        row: list[float | None] = [None] * 12
        for month in range(1, 13):
            if (year, month) in ends:
                row[month - 1] = ends[year, month] / before - 1.0 if before else None
                before = ends[year, month]
        rows.append({"year": year, "months": row, "total": before / year_before - 1.0 if year_before else None})
        year_before = before
    return rows


def _charts(db: sqlite3.Connection, dates: Mapping[int, str]) -> Iterator[dict[str, Any]]:
    """Each control chart: its newest points with their limits, and its violations."""
    for (chart,) in db.execute("SELECT DISTINCT chart FROM samples ORDER BY chart").fetchall():
        rows = db.execute(
            "SELECT sample_id, session, value, centre, sigma, in_control FROM samples WHERE chart = ?"
            " ORDER BY sample_id DESC LIMIT 400",
            (chart,),
        ).fetchall()[::-1]
        found = db.execute(
            "SELECT v.session, v.rule_id, v.severity, coalesce(a.user, '') FROM violations v"
            " LEFT JOIN acknowledgements a USING (violation_id) WHERE v.chart = ? ORDER BY v.session, v.rowid",
            (chart,),
        ).fetchall()
        total = db.execute("SELECT count(*) FROM samples WHERE chart = ?", (chart,)).fetchone()[0]
        yield {
            "name": chart,
            "points": total,
            "number": [row[0] for row in rows],
            "dates": [dates.get(row[1], "") for row in rows],
            "value": [row[2] for row in rows],
            "centre": [row[3] for row in rows],
            "sigma": [row[4] for row in rows],
            "out": [not row[5] for row in rows],
            "violations": [
                {"date": dates.get(session, ""), "rule": rule, "severity": severity, "by": user}
                for session, rule, severity, user in found
            ],
        }


def _episodes(db: sqlite3.Connection) -> Iterator[dict[str, Any]]:
    """What happened to health and to the kill switch, and to a strategy of a user's own, oldest first."""
    rows = db.execute(
        "SELECT type, event FROM events WHERE type IN ('health.status_changed', 'killswitch.changed', 'strategy.failed')"
        " ORDER BY number DESC LIMIT ?",
        (_MOST_EPISODES,),
    ).fetchall()[::-1]
    for kind, text in rows:
        told = json.loads(text)
        date = told["timestamp"][:10]
        match kind:
            case "health.status_changed":
                yield {"date": date, "what": told["component"], "state": told["new_status"], "why": told["reason"]}
            case "killswitch.changed":
                yield {"date": date, "what": "KILL SWITCH", "state": told["mode"], "why": told["reason"]}
            case _:
                why = f"{told['place']}: {told['error']}; {told['remedy']}"
                yield {"date": date, "what": told["strategy_id"], "state": "STRATEGY_FAILED", "why": why}


def _seconds(ts: str) -> int:
    return int(datetime.fromisoformat(ts).timestamp())
