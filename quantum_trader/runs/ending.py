"""Ending: what a run leaves when it is over: its plot, its page and its figures. The figures come last: a run that has them is complete."""

from __future__ import annotations

import json
from typing import Any

from quantum_trader.events import RunCompletedEvent
from quantum_trader.files import write_whole
from quantum_trader.monitoring.plot import Line, line_chart
from quantum_trader.monitoring.record import RunRecord
from quantum_trader.monitoring.report import Report, make_report
from quantum_trader.runs.folder import RunFolder
from quantum_trader.runs.page.page import page


def conclude(folder: RunFolder, record: RunRecord, completed: RunCompletedEvent) -> tuple[Report, dict[str, Any]]:
    """Write what people look at; gives the report and what its file says. Raises `OSError`."""
    found = make_report(record)
    write_whole(folder.plot, plot(record, found).encode())
    write_whole(folder.page, page(folder.path).encode())
    summary = found.as_dict() | {"run": str(folder.path), "digest": completed.digest}
    write_whole(folder.report, json.dumps(summary, indent=2).encode())
    return found, summary


def plot(record: RunRecord, found: Report) -> str:
    """The equity of a run beside buy and hold, as SVG."""
    points = record.points
    return line_chart(
        f"Equity {found.first} .. {found.last}",
        [point.ts for point in points],
        [
            Line("buy and hold", [point.benchmark for point in points], "#8c959f", 1.2),
            Line("equity", [float(point.equity) for point in points], "#0969da", 1.8),
        ],
    )
