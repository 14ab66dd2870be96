"""Back-adjustment: raw bars become bars without splits and dividends, on the price scale of the symbol's last bar.

An unadjusted split is a loss that never happened, so nothing downstream ever sees a raw price.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from datetime import datetime
from typing import NamedTuple

from quantum_trader.market.calendar import format_ts
from quantum_trader.model import UNKNOWN_VOLUME, Bar, significant


class RawBar(NamedTuple):
    """One row of a data file: prices as they were traded, and the close as the vendor adjusted it."""

    ts: datetime
    open: float
    high: float
    low: float
    close: float
    volume: float
    adj_close: float


def factors(rows: Sequence[RawBar]) -> list[float]:
    """`k[t] = (adj[t] / close[t]) / (adj[last] / close[last])` for the rows of one symbol in time order.

    The last row is the anchor, so that its prices stay as traded and later corporate actions do not matter.
    """
    if not rows:
        return []
    anchor = rows[-1].adj_close / rows[-1].close
    return [(row.adj_close / row.close) / anchor for row in rows]


def adjusted(symbol: str, session: int, row: RawBar, k: float) -> Bar:
    """`row` on the adjusted scale: prices times `k`, volume over `k`, twelve significant digits: turnover is kept.

    A volume that nobody knows stays unknown.
    """
    return Bar(
        symbol,
        session,
        row.ts,
        significant(row.open * k),
        significant(row.high * k),
        significant(row.low * k),
        significant(row.close * k),
        row.volume if row.volume == UNKNOWN_VOLUME else significant(row.volume / k),
        k,
    )


def bars_sha256(bars: Iterable[Bar]) -> str:
    """The fingerprint of one symbol's adjusted bars: SHA-256 over `date,open,high,low,close,volume` lines.

    Numbers with twelve significant digits, lines joined by a line feed, none after the last. Two data sets that agree here give the
    same run, whatever file they came from.
    """
    lines = (
        f"{format_ts(bar.ts)},{bar.open:.12g},{bar.high:.12g},{bar.low:.12g},{bar.close:.12g},{bar.volume:.12g}"
        for bar in bars
    )
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()
