"""The live view: equity as a sparkline, positions, the last trades, open alarms; nothing that a terminal would act on."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

from rich.console import Console

from eventbus import InMemoryEventBus
from quantum_trader.cli.live import LiveView
from quantum_trader.events import (
    PortfolioUpdatedEvent,
    PositionItem,
    TradeExecutedEvent,
    ViolationAcknowledgedEvent,
    ViolationCreatedEvent,
)
from quantum_trader.monitoring.archive import ChartPoint
from quantum_trader.monitoring.chart_lines import chart_lines, chart_svg
from quantum_trader.monitoring.record import RunRecord
from quantum_trader.monitoring.spark import sparkline

AT = datetime(2005, 3, 1, tzinfo=UTC)


def statement(session: int, equity: int) -> PortfolioUpdatedEvent:
    line = PositionItem(
        strategy_id="dip",
        symbol="IBM\x1b[31m",
        qty=Decimal(100),
        avg_price=Decimal(90),
        last=Decimal(95),
        stop_px=None,
        unrealised=Decimal(500),
        stale=False,
    )
    money: dict[str, Any] = {name: Decimal(0) for name in ("cash", "gross", "realised", "fees")}
    return PortfolioUpdatedEvent(
        session=session, equity=Decimal(equity), drawdown=0.0, day_return=0.0, positions=(line,), timestamp=AT, **money
    )


async def test_it_shows_the_curve_what_is_held_traded_and_alarming() -> None:
    bus = InMemoryEventBus()
    record = RunRecord(cash=Decimal(1000), universe_size=1)
    record.attach(bus)
    out = io.StringIO()
    view = LiveView(bus, record, 10, Console(file=out, width=120, force_terminal=False))
    violations = [
        ViolationCreatedEvent.create(
            violation_id=f"port.return-{number}-1",
            sample_id=number,
            characteristic_id=1,
            rule_id=1,
            rule_name="Outlier",
            severity="CRITICAL",
            chart="port.return",
            timestamp=AT,
        )
        for number in (1, 2)
    ]
    async with bus:
        fill = TradeExecutedEvent.create(
            order_id="o", symbol="MSFT", side="BUY", size=7, price="31.5", strategy_id="dip", timestamp=AT
        )
        await bus.publish(fill)
        for violation in violations:
            await bus.publish(violation)
        await bus.publish(ViolationAcknowledgedEvent(violation_id="port.return-1-1", user="me", reason="seen"))
        for session, equity in enumerate((1000, 1010, 1005, 1100)):
            await bus.publish(statement(session, equity))
        await bus.drain()
    screen = Console(file=out, width=120, force_terminal=False)
    screen.print(view.screen(statement(4, 1100)))
    told = out.getvalue()
    assert "▁▂▁█" in told
    assert "+500" in told
    assert "7 at 31.50" in told
    assert "open alarms (1)" in told
    assert "port.return  rule 1 Outlier" in told
    assert "\x1b" not in told


def test_a_sparkline_has_a_character_for_each_share() -> None:
    assert sparkline([], 10) == ""
    assert sparkline([5.0, 5.0], 10) == "▄▄"
    assert sparkline([float(value) for value in range(100)], 8) == "▁▂▃▄▅▆▇█"


def test_a_control_chart_is_drawn_with_limits_dates_and_what_is_out() -> None:
    points = [
        ChartPoint(at, at, f"2005-03-{at + 1:02}", 9.0 if at == 5 else float(at % 2), None, "", at != 5, "MONITOR")
        for at in range(20)
    ]
    lines = chart_lines(points, 0.5, 1.0, 60)
    assert "!" in lines[0]
    assert sum("-" in line.partition("|")[2] for line in lines) >= 2
    assert "2005-03-01" in lines[-1]
    assert "2005-03-20" in lines[-1]
    svg = chart_svg("port <return>", points, 0.5, 1.0)
    assert svg.count("<circle") == 20
    assert svg.count("#cf222e") >= 3
    assert "port &lt;return&gt;" in svg
    assert "2005-03-20" in svg
    assert chart_lines(points[:1], None, None, 60)
