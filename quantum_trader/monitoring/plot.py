"""Plot: lines over time as one self-contained SVG file, written by hand.

Knows numbers and labels; where they come from and who looks at them is not known here.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Final
from xml.sax.saxutils import escape

WIDTH, HEIGHT = 960, 420
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 20, 46, 34
_MOST_POINTS: Final = 1_500  # more than the pixels there are would only make the file large


@dataclass(frozen=True, slots=True)
class Line:
    """A named series, one value per time. `colour` is any SVG colour."""

    name: str
    values: Sequence[float]
    colour: str
    width: float = 1.6


def line_chart(title: str, times: Sequence[datetime], lines: Sequence[Line]) -> str:
    """The SVG text of `lines` over `times`, with axes, grid and legend.

    Raises ValueError when there is no time, or a line has another number of values than there are times.
    """
    if not times:
        raise ValueError("times: nothing to draw; give at least one")
    for line in lines:
        if len(line.values) != len(times):
            raise ValueError(f"{line.name}: {len(line.values)} values for {len(times)} times; give one for each")
    low, high = _range(lines)
    ticks = nice_ticks(low, high)
    low, high = min(low, ticks[0]), max(high, ticks[-1])
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="20" font-size="15" font-weight="bold" fill="#1b1f24">{escape(title)}</text>',
        *_grid(ticks, low, high),
        *_years(times),
        *(_path(line, low, high) for line in lines),
        *_legend(lines),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def nice_ticks(low: float, high: float) -> list[float]:
    """About six round numbers that span `low`..`high`."""
    if not high > low:
        return [low, low + 1.0]
    rough = (high - low) / 6
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 2.5, 5, 10) if factor * power >= rough)
    first = math.floor(low / step)
    return [index * step for index in range(first, math.ceil(high / step) + 1)]


def _range(lines: Sequence[Line]) -> tuple[float, float]:
    values = [value for line in lines for value in line.values]
    return (min(values), max(values)) if values else (0.0, 1.0)


def _x(index: int, count: int) -> float:
    return _LEFT + (WIDTH - _LEFT - _RIGHT) * (index / max(1, count - 1))


def _y(value: float, low: float, high: float) -> float:
    return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (value - low) / (high - low)


def _grid(ticks: Sequence[float], low: float, high: float) -> list[str]:
    parts = []
    for tick in ticks:
        y = _y(tick, low, high)
        parts.append(f'<line x1="{_LEFT}" y1="{y:.1f}" x2="{WIDTH - _RIGHT}" y2="{y:.1f}" stroke="#e3e6ea"/>')
        parts.append(f'<text x="{_LEFT - 8}" y="{y + 4:.1f}" text-anchor="end" fill="#57606a">{tick:,.10g}</text>')
    return parts


def _years(times: Sequence[datetime]) -> list[str]:
    """A mark where a year begins; the first and last date when there is no such place."""
    count = len(times)
    marks = [
        (index, str(moment.year))
        for index, moment in enumerate(times)
        if index and moment.year != times[index - 1].year
    ]
    if not marks:
        marks = [(0, times[0].date().isoformat())]
        marks += [(count - 1, times[-1].date().isoformat())] if count > 1 else []
    parts = []
    for index, label in marks:
        x = _x(index, count)
        parts.append(f'<line x1="{x:.1f}" y1="{_TOP}" x2="{x:.1f}" y2="{HEIGHT - _BOTTOM}" stroke="#f0f2f4"/>')
        anchor = "end" if index == count - 1 and count > 1 else "start" if index == 0 else "middle"
        parts.append(
            f'<text x="{x:.1f}" y="{HEIGHT - 12}" text-anchor="{anchor}" fill="#57606a">{escape(label)}</text>'
        )
    return parts


def _path(line: Line, low: float, high: float) -> str:
    count = len(line.values)
    step = max(1, count // _MOST_POINTS)
    chosen = sorted({*range(0, count, step), count - 1})
    points = " ".join(f"{_x(index, count):.1f},{_y(line.values[index], low, high):.1f}" for index in chosen)
    return (
        f'<polyline points="{points}" fill="none" stroke="{escape(line.colour)}" stroke-width="{line.width:g}"'
        ' stroke-linejoin="round"/>'
    )


def _legend(lines: Sequence[Line]) -> list[str]:
    parts = []
    for position, line in enumerate(lines):
        x = _LEFT + 170 * position
        parts.append(f'<rect x="{x}" y="30" width="18" height="4" fill="{escape(line.colour)}"/>')
        parts.append(f'<text x="{x + 24}" y="37" fill="#1b1f24">{escape(line.name)}</text>')
    return parts
