"""Live view: a run while it happens, in a terminal that can redraw, or as a few plain lines.

Subscribes to what it shows and is never waited for by anybody.
"""

from __future__ import annotations

from collections import deque
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from eventbus import EventBus, SystemClock
from quantum_trader.cli.saying import clean
from quantum_trader.events import (
    HealthStatusChangedEvent,
    KillSwitchChangedEvent,
    PortfolioUpdatedEvent,
    ViolationAcknowledgedEvent,
    ViolationCreatedEvent,
)
from quantum_trader.model import Side
from quantum_trader.monitoring.record import RunRecord
from quantum_trader.monitoring.spark import sparkline

REFRESH_S = 0.1
_CURVE = 2_000  # sessions of the curve
_LINES = 5  # of each list
_ALARMS = 99  # open ones that are kept
PLAIN_LINES = 10


class LiveView:
    """A context manager around a run over `sessions` sessions."""

    def __init__(self, bus: EventBus, record: RunRecord, sessions: int, console: Console) -> None:
        self._bus = bus
        self._record = record
        self._sessions = sessions
        self._console = console
        self._clock = SystemClock()
        self._started = self._shown = self._now()
        self._progress = Progress(
            TextColumn("replaying"), BarColumn(bar_width=None), MofNCompleteColumn(), TimeElapsedColumn()
        )
        self._task = self._progress.add_task("replaying", total=sessions)
        self._live = Live(console=console, auto_refresh=False, transient=True) if console.is_terminal else None
        self._equity: deque[float] = deque(maxlen=_CURVE)
        self._alarms: dict[str, str] = {}  # open ones, by id
        self._health = "HEALTHY"
        self._switch = "OFF"
        bus.subscribe(PortfolioUpdatedEvent, self.on_portfolio_updated, name="live.portfolio")
        bus.subscribe(HealthStatusChangedEvent, self.on_health_status_changed, name="live.health")
        bus.subscribe(KillSwitchChangedEvent, self.on_kill_switch_changed, name="live.killswitch")
        bus.subscribe(ViolationCreatedEvent, self.on_violation_created, name="live.violation")
        bus.subscribe(ViolationAcknowledgedEvent, self.on_violation_acknowledged, name="live.acknowledged")

    def __enter__(self) -> Self:
        self._started = self._shown = self._now()
        if self._live is not None:
            self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.end()

    def end(self) -> None:
        """Draw no more."""
        if self._live is not None:
            self._live.stop()

    async def on_health_status_changed(self, event: HealthStatusChangedEvent) -> None:
        self._health = event.overall.value

    async def on_kill_switch_changed(self, event: KillSwitchChangedEvent) -> None:
        self._switch = event.mode.value

    async def on_violation_created(self, event: ViolationCreatedEvent) -> None:
        date = event.timestamp.date().isoformat()
        self._alarms[str(event.violation_id)] = f"{date}  {event.chart}  rule {event.rule_id} {event.rule_name}"
        while len(self._alarms) > _ALARMS:
            del self._alarms[next(iter(self._alarms))]

    async def on_violation_acknowledged(self, event: ViolationAcknowledgedEvent) -> None:
        self._alarms.pop(str(event.violation_id), None)

    async def on_portfolio_updated(self, event: PortfolioUpdatedEvent) -> None:
        done = event.session + 1
        self._equity.append(float(event.equity))
        if self._live is not None:
            now = self._now()
            if now - self._shown >= REFRESH_S or done == self._sessions:
                self._shown = now
                self._progress.update(self._task, completed=done)
                self._live.update(self.screen(event), refresh=True)
        elif done % max(1, self._sessions // PLAIN_LINES) == 0 or done == self._sessions:
            date, equity = event.timestamp.date().isoformat(), float(event.equity)
            self._console.print(
                f"{date}  session {done:>5,}/{self._sessions:,}  equity {equity:>14,.2f}  {self._mode():<10}"
                f"  {self.bars_per_second():>9,.0f} bars/s"
            )

    def _now(self) -> float:
        return self._clock.monotonic_ns() / 1e9

    def bars_per_second(self) -> float:
        """Bars replayed per second of wall time so far."""
        elapsed = self._now() - self._started
        return self._record.bars / elapsed if elapsed > 0 else 0.0

    def _mode(self) -> str:
        return "-" if self._record.mode is None else self._record.mode.value

    def screen(self, event: PortfolioUpdatedEvent) -> Group:
        """All of it: how far it is, the account, its curve, what is held, what was traded last, what alarms are open."""
        curve = Text(sparkline(self._equity, max(20, self._console.width - 4)), style="cyan")
        lists = Table.grid(padding=(0, 4))
        lists.add_row(self._positions(event), self._trades(), self._open_alarms())
        return Group(self._progress, self._panel(event), curve, lists)

    def _positions(self, event: PortfolioUpdatedEvent) -> Table:
        table = Table("position", "units", "worth", "gain", box=None, header_style="dim")
        for line in sorted(event.positions, key=lambda line: -(line.qty * line.last))[:_LINES]:
            gain = float(line.unrealised)
            style = "green" if gain >= 0 else "red"
            worth = float(line.qty * line.last)
            table.add_row(clean(line.symbol), f"{line.qty:,f}", f"{worth:,.0f}", Text(f"{gain:+,.0f}", style=style))
        return table

    def _trades(self) -> Table:
        table = Table("last trades", "", "", "", box=None, header_style="dim")
        for trade in reversed(self._record.trades[-_LINES:]):
            side = Text(trade.side.value, style="green" if trade.side is Side.BUY else "red")
            price = f"{float(trade.price):,.2f}"
            table.add_row(trade.timestamp.date().isoformat(), side, clean(trade.symbol), f"{trade.size:,f} at {price}")
        return table

    def _open_alarms(self) -> Table:
        table = Table(f"open alarms ({len(self._alarms)})", box=None, header_style="dim")
        for alarm in list(self._alarms.values())[-_LINES:]:
            table.add_row(Text(alarm, style="yellow"))
        return table

    def _panel(self, event: PortfolioUpdatedEvent) -> Table:
        table = Table.grid(padding=(0, 3))
        stats = self._bus.get_stats()
        rows = [
            ("date", event.timestamp.date().isoformat(), "risk mode", self._mode()),
            ("equity", f"{event.equity:,.2f}", "health", self._health),
            ("drawdown", f"{event.drawdown:.1%}", "kill switch", self._switch),
            ("positions", str(len(event.positions)), "fills", f"{len(self._record.trades):,}"),
            ("bars/s", f"{self.bars_per_second():,.0f}", "events", f"{stats['published']:,}"),
        ]
        for row in rows:
            table.add_row(*row)
        return table
