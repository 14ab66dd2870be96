"""Analytics: what a run did, in one SQLite file that outlives it, and the way back to a run record.

Rows are gathered and written after a session, a few times a second at most. It is an onlooker: what it cannot write is
counted, and stops nobody.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable
from contextlib import closing
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

from eventbus import Event, EventBus, SystemClock
from quantum_trader.events import (
    AlertThresholdExceededEvent,
    EvaluationRetriedEvent,
    EvaluationStartedEvent,
    ModelPromotedEvent,
    OrderDeniedEvent,
    PolicyUpdatedEvent,
    PortfolioUpdatedEvent,
    PromotionRefusedEvent,
    RunCompletedEvent,
    RunStartedEvent,
    SampleProcessedEvent,
    SessionDecideEvent,
    SignalsGeneratedEvent,
    StrategyPromotedEvent,
    TradeExecutedEvent,
    ViolationAcknowledgedEvent,
    ViolationCreatedEvent,
    is_decision,
)
from quantum_trader.model import RiskMode
from quantum_trader.monitoring.digest import ReplayDigest, told_in
from quantum_trader.monitoring.equity_curve import EquityPoint
from quantum_trader.monitoring.record import RETRIED, ChartTally, RunRecord, TradeLine

FILE_NAME: Final = "analytics.sqlite"
_EVERY_NS: Final = 250_000_000  # between two writes: nobody reads faster, and a transaction costs as much as fifty rows

_SCHEMA: Final = """
CREATE TABLE run (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID;
CREATE TABLE equity (session INTEGER PRIMARY KEY, ts TEXT NOT NULL, equity TEXT NOT NULL, benchmark REAL NOT NULL,
    drawdown REAL NOT NULL, mode TEXT, portfolio TEXT NOT NULL);
CREATE TABLE trades (fill_id TEXT PRIMARY KEY, session INTEGER, strategy_id TEXT, symbol TEXT, side TEXT, size TEXT,
    price TEXT, fee TEXT, event TEXT NOT NULL);
CREATE TABLE signals (signal_id TEXT, session INTEGER, strategy_id TEXT, symbol TEXT, stage TEXT, target INTEGER,
    confidence REAL, reason TEXT);
CREATE TABLE denials (order_id TEXT PRIMARY KEY, session INTEGER, code TEXT, allowed TEXT, found TEXT);
CREATE TABLE promotions (number INTEGER PRIMARY KEY, session INTEGER, subject TEXT, type TEXT, event TEXT NOT NULL);
CREATE TABLE policies (version INTEGER PRIMARY KEY, session INTEGER, mode TEXT, event TEXT NOT NULL);
CREATE TABLE samples (chart TEXT, sample_id INTEGER, session INTEGER, value REAL, centre REAL, sigma REAL, z REAL,
    zone TEXT, in_control INTEGER, phase TEXT, PRIMARY KEY (chart, sample_id)) WITHOUT ROWID;
CREATE TABLE thresholds (session INTEGER, metric TEXT, value REAL, threshold REAL);
CREATE TABLE evaluations (evaluation_id TEXT, attempt INTEGER, session INTEGER, subject TEXT, purpose TEXT,
    PRIMARY KEY (evaluation_id, attempt)) WITHOUT ROWID;
CREATE TABLE retries (evaluation_id TEXT, attempt INTEGER, session INTEGER);
CREATE TABLE acknowledgements (violation_id TEXT PRIMARY KEY, user TEXT, reason TEXT, excluded INTEGER);
CREATE TABLE events (number INTEGER PRIMARY KEY, session INTEGER, type TEXT NOT NULL, event_id TEXT NOT NULL,
    event TEXT NOT NULL);
CREATE TABLE violations (violation_id TEXT PRIMARY KEY, session INTEGER, chart TEXT, rule_id INTEGER, severity TEXT);
"""

# Signals are looked for one by one, but come in batches, and an empty one was decided too; the end of a session is what the
# row of its portfolio is written at.
_BOTH: Final = frozenset({SignalsGeneratedEvent, SessionDecideEvent})


class NoRun(Exception):
    """There is no readable record of a run. Name one that `qt replay` or `qt demo` wrote."""

    def __init__(
        self, path: Path, problem: str, *, remedy: str = "name the folder of a run, or replay it again"
    ) -> None:
        super().__init__(f"{path}: {problem}; {remedy}")
        self.path = path


class AnalyticsService:
    """Writes beside a run; `record` and `digest` are where it looks up what it would have to compute twice. `failures`
    counts writes."""

    def __init__(self, bus: EventBus, path: Path, record: RunRecord, digest: ReplayDigest) -> None:
        self._record = record
        self._digest = digest
        self._clock = SystemClock()
        self._written_ns = 0
        self._rows: dict[str, list[tuple[Any, ...]]] = {}  # by table
        self.failures = 0
        path.unlink(missing_ok=True)
        self._db = sqlite3.connect(path, isolation_level=None)
        self._db.executescript("PRAGMA journal_mode=WAL; PRAGMA synchronous=OFF;" + _SCHEMA)
        self._put("run", ("cash", str(record.cash)))
        self._put("run", ("universe_size", str(record.universe_size)))
        self._tables: dict[type[Event], Callable[[Any], None]] = {
            RunStartedEvent: self._run_started,
            RunCompletedEvent: self._run_completed,
            TradeExecutedEvent: self._trade_executed,
            SignalsGeneratedEvent: self._signals_generated,
            OrderDeniedEvent: self._order_denied,
            PromotionRefusedEvent: self._promotion_refused,
            StrategyPromotedEvent: self._promoted,
            ModelPromotedEvent: self._promoted,
            PolicyUpdatedEvent: self._policy_updated,
            ViolationCreatedEvent: self._violation_created,
            ViolationAcknowledgedEvent: self._acknowledged,
            SampleProcessedEvent: self._sample_processed,
            AlertThresholdExceededEvent: self._threshold_exceeded,
            EvaluationStartedEvent: self._evaluation_started,
            EvaluationRetriedEvent: self._evaluation_retried,
            SessionDecideEvent: self._session_decide,
        }
        bus.subscribe("*", self.on_event, name="analytics.event")

    async def on_event(self, event: Event) -> None:
        """Into the table of its kind, where people look for it; every other decision into the one for the rest."""
        put = self._tables.get(type(event))
        if put is not None:
            put(event)
        if (put is None or type(event) in _BOTH) and type(event) is not PortfolioUpdatedEvent and is_decision(event):
            told = told_in(self._digest.line(event))
            self._put("events", (None, event.get("session"), event.type, event.event_id, told))

    def _run_started(self, event: RunStartedEvent) -> None:
        self._put("run", ("started", _text(event)))

    def _run_completed(self, event: RunCompletedEvent) -> None:
        self._put("run", ("completed", _text(event)))
        self._put("run", ("bars", str(self._record.bars)))
        self._put("run", ("rest", json.dumps(self._record.rest())))
        self.flush()

    def _trade_executed(self, event: TradeExecutedEvent) -> None:
        who = (event.fill_id, event.session, event.strategy_id, event.symbol, event.side.value)
        self._put("trades", (*who, str(event.size), str(event.price), str(event.fee), _text(event)))

    def _signals_generated(self, event: SignalsGeneratedEvent) -> None:
        for item in event.items:
            who = (item.signal_id, event.session, item.strategy_id, item.symbol, item.stage.value)
            self._put("signals", (*who, item.target, item.confidence, item.reason))

    def _order_denied(self, event: OrderDeniedEvent) -> None:
        self._put("denials", (event.order_id, event.session, event.code, str(event.limit), str(event.value)))

    def _promotion_refused(self, event: PromotionRefusedEvent) -> None:
        what = f"{event.strategy_id}/{event.to_stage}/{event.event_id}"
        self._put("denials", (what, event.session, event.code, "a passed evaluation", event.evaluation_id or "none"))

    def _promoted(self, event: StrategyPromotedEvent | ModelPromotedEvent) -> None:
        subject = event.strategy_id if isinstance(event, StrategyPromotedEvent) else event.model_name
        self._put("promotions", (None, event.session, subject, event.type, _text(event)))

    def _policy_updated(self, event: PolicyUpdatedEvent) -> None:
        self._put("policies", (event.version, event.session, event.risk_mode.value, _text(event)))

    def _violation_created(self, event: ViolationCreatedEvent) -> None:
        row = (str(event.violation_id), event.session, event.chart, event.rule_id, event.severity)
        self._put("violations", row)

    def _acknowledged(self, event: ViolationAcknowledgedEvent) -> None:
        row = (str(event.violation_id), event.user, event.reason, event.exclude_samples)
        self._put("acknowledgements", row)

    def _sample_processed(self, event: SampleProcessedEvent) -> None:
        judged = (event.centre, event.sigma, event.z, event.zone, event.in_control, event.phase)
        self._put("samples", (event.chart, event.sample_id, event.session, event.mean, *judged))

    def _threshold_exceeded(self, event: AlertThresholdExceededEvent) -> None:
        self._put("thresholds", (event.session, event.metric, event.value, event.threshold))

    def _evaluation_started(self, event: EvaluationStartedEvent) -> None:
        row = (event.evaluation_id, event.attempt, event.session, event.subject_id, event.purpose.value)
        self._put("evaluations", row)

    def _evaluation_retried(self, event: EvaluationRetriedEvent) -> None:
        self._put("retries", (event.evaluation_id, event.attempt, event.session))

    def _session_decide(self, event: SessionDecideEvent) -> None:
        last, mode = self._record.last, self._record.mode
        if last is not None and last.session == event.session:
            row = (last.session, last.timestamp.isoformat(), str(last.equity), self._record.benchmark(), last.drawdown)
            self._put("equity", (*row, None if mode is None else mode.value, _text(last)))
        if self._clock.monotonic_ns() - self._written_ns >= _EVERY_NS:
            self.flush()

    def flush(self) -> None:
        """Write what has been gathered, in one transaction; all of it or, counted, nothing."""
        self._written_ns = self._clock.monotonic_ns()
        rows, self._rows = self._rows, {}
        try:
            self._db.execute("BEGIN")
            for table, of_table in rows.items():
                places = ",".join("?" * len(of_table[0]))
                self._db.executemany(f"INSERT OR REPLACE INTO {table} VALUES ({places})", of_table)
            self._db.execute("COMMIT")
        except sqlite3.Error:
            self.failures += 1
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")

    def close(self) -> None:
        """Write the rest and close the file."""
        self.flush()
        self._db.close()

    def _put(self, table: str, row: tuple[Any, ...]) -> None:
        self._rows.setdefault(table, []).append(row)


def load_record(path: Path) -> tuple[RunRecord, RunCompletedEvent]:
    """The record of the run whose file is `path` (or in the folder `path`), and how it ended. Raises `NoRun`."""
    file = path / FILE_NAME if path.is_dir() else path
    if not file.is_file():
        raise NoRun(path, "no run is recorded there")
    try:
        with closing(sqlite3.connect(f"{file.resolve().as_uri()}?mode=ro", uri=True)) as db:
            return _loaded(db, file)
    except (sqlite3.Error, LookupError, TypeError, ValueError) as cause:
        raise NoRun(file, f"not a readable record ({type(cause).__name__})") from cause


def _loaded(db: sqlite3.Connection, file: Path) -> tuple[RunRecord, RunCompletedEvent]:
    run = dict(db.execute("SELECT key, value FROM run").fetchall())
    if "completed" not in run:
        raise NoRun(file, "the run is unfinished", remedy=f"continue it with: qt resume {file.parent}")
    record = RunRecord(cash=Decimal(run["cash"]), universe_size=int(run["universe_size"]))
    record.bars = int(run["bars"])
    record.take_rest(json.loads(run["rest"]))
    for session, ts, equity, benchmark, drawdown, mode, portfolio in db.execute(
        "SELECT * FROM equity ORDER BY session"
    ):
        moment = datetime.fromisoformat(ts)
        known = None if mode is None else RiskMode(mode)
        record.points.append(EquityPoint(session, moment, Decimal(equity), benchmark, drawdown, known))
        record.keep_portfolio(PortfolioUpdatedEvent.model_validate_json(portfolio))
    for (text,) in db.execute("SELECT event FROM trades ORDER BY session, rowid"):
        record.trades.append(TradeLine.of(TradeExecutedEvent.model_validate_json(text)))
    for code, count in db.execute("SELECT code, count(*) FROM denials GROUP BY code"):
        record.denials[code] = count
    for kind, text in db.execute("SELECT type, event FROM promotions ORDER BY number"):
        cls = StrategyPromotedEvent if kind == StrategyPromotedEvent.type else ModelPromotedEvent
        record.promotions.append(cls.model_validate_json(text))
    for (mode,) in db.execute("SELECT mode FROM policies ORDER BY version"):
        record.policies += 1
        record.mode = RiskMode(mode)
    for chart, points in db.execute("SELECT chart, count(*) FROM samples GROUP BY chart"):
        record.charts[chart] = ChartTally(points)
    for chart, rule, count in db.execute("SELECT chart, rule_id, count(*) FROM violations GROUP BY chart, rule_id"):
        record.charts[chart].alarms[rule] = count
    record.evaluations.update(dict(db.execute("SELECT purpose, count(*) FROM evaluations GROUP BY purpose")))
    record.evaluations.update(dict(db.execute("SELECT ?, count(*) FROM retries HAVING count(*)", (RETRIED,))))
    record.ladder.update(dict(db.execute("SELECT threshold, count(*) FROM thresholds GROUP BY threshold")))
    return record, RunCompletedEvent.model_validate_json(run["completed"])


def _text(event: Event) -> str:
    return event.model_dump_json()
