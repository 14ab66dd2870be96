"""Chart lines: a control chart drawn for a terminal and as SVG, with its limits, its dates and the points that broke a rule."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

from quantum_trader.monitoring.archive import ChartPoint

WIDTH, HEIGHT = 960, 320
_LEFT, _RIGHT, _TOP, _BOTTOM = 78, 20, 46, 40
_ROWS: Final = 11  # of a terminal
_LIMITS: Final = (3, 0, -3)  # in sigmas
_PLAIN, _OUT, _LIMIT = "•", "!", "-"


def chart_lines(points: Sequence[ChartPoint], centre: float | None, sigma: float | None, width: int) -> list[str]:
    """The newest points, one a column, highest value on top; limits are dashed, a point beyond a rule is `!`."""
    shown = points[-max(1, width - 14) :]
    low, high = _range(shown, centre, sigma)
    rows = [[" "] * len(shown) for _ in range(_ROWS)]

    def row(value: float) -> int:
        return round((high - value) / (high - low) * (_ROWS - 1))

    labels = {row(high): high, row(low): low}
    if centre is not None and sigma is not None:
        for times in _LIMITS:
            level = centre + times * sigma
            labels[row(level)] = level
            rows[row(level)] = [_LIMIT] * len(shown)
    for column, point in enumerate(shown):
        rows[row(point.value)][column] = _PLAIN if point.in_control else _OUT
    lines = [
        f"{'' if at not in labels else f'{labels[at]:.4g}':>11} |{''.join(cells).rstrip()}"
        for at, cells in enumerate(rows)
    ]
    dates = [point.date for point in shown if point.date]
    ends = f"{dates[0]:<{max(1, len(shown) - 10)}}{dates[-1]}" if len(dates) > 1 else "".join(dates)
    return [*lines, f"{'':>11}  {ends}"]


def chart_svg(name: str, points: Sequence[ChartPoint], centre: float | None, sigma: float | None) -> str:
    """The same as one self-contained SVG file."""
    low, high = _range(points, centre, sigma)

    def x(at: int) -> float:
        return _LEFT + (WIDTH - _LEFT - _RIGHT) * at / max(1, len(points) - 1)

    def y(value: float) -> float:
        return HEIGHT - _BOTTOM - (HEIGHT - _TOP - _BOTTOM) * (value - low) / (high - low)

    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="#ffffff"/>',
        f'<text x="{_LEFT}" y="24" font-size="15" font-weight="bold" fill="#1b1f24">{escape(name)}</text>',
    ]
    if centre is not None and sigma is not None:
        for times, words in zip(_LIMITS, ("UCL", "centre", "LCL"), strict=True):
            level = y(centre + times * sigma)
            colour = "#57606a" if times == 0 else "#cf222e"
            parts.append(
                f'<line x1="{_LEFT}" y1="{level:.1f}" x2="{WIDTH - _RIGHT}" y2="{level:.1f}" stroke="{colour}"'
                f' stroke-dasharray="5 4"/><text x="{_LEFT - 8}" y="{level + 4:.1f}" text-anchor="end" fill="{colour}">'
                f"{words} {centre + times * sigma:.3g}</text>"
            )
    line = " ".join(f"{x(at):.1f},{y(point.value):.1f}" for at, point in enumerate(points))
    parts.append(f'<polyline points="{line}" fill="none" stroke="#0969da" stroke-width="1.4"/>')
    for at, point in enumerate(points):
        colour, size = ("#0969da", 1.8) if point.in_control else ("#cf222e", 4.0)
        title = f"{point.date} session {point.session}: {point.value:.6g}"
        parts.append(
            f'<circle cx="{x(at):.1f}" cy="{y(point.value):.1f}" r="{size}" fill="{colour}"><title>{escape(title)}</title></circle>'
        )
    for at in sorted({0, len(points) // 2, len(points) - 1}):
        anchor = "start" if at == 0 else "end" if at == len(points) - 1 else "middle"
        parts.append(
            f'<text x="{x(at):.1f}" y="{HEIGHT - 14}" text-anchor="{anchor}" fill="#57606a">{escape(points[at].date)}</text>'
        )
    return "\n".join([*parts, "</svg>"]) + "\n"


def _range(points: Sequence[ChartPoint], centre: float | None, sigma: float | None) -> tuple[float, float]:
    values = [point.value for point in points]
    if centre is not None and sigma is not None:
        values += [centre + times * sigma for times in _LIMITS]
    low, high = min(values), max(values)
    return (low, high) if high > low else (low - 1.0, high + 1.0)
