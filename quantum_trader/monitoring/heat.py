"""Heat: a grid of figures as colours, as an SVG file and as lines of a terminal. Knows numbers and labels only."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final
from xml.sax.saxutils import escape

from rich.text import Text

_CELL_W, _CELL_H, _LEFT, _TOP = 96, 40, 110, 64
_BAD, _MIDDLE, _GOOD = (214, 96, 77), (247, 247, 247), (67, 147, 195)  # ColorBrewer RdBu, safe for the colour blind
_DARK: Final = 140  # a sum of the channels below which text on it is white

Grid = Sequence[Sequence[float | None]]


def heat_map(title: str, across: Sequence[str], down: Sequence[str], values: Grid, *, axes: tuple[str, str]) -> str:
    """The SVG text of `values`, a row for each of `down`, a cell for each of `across`; None is a hole.

    `axes` name what runs across and what runs down.
    """
    width, height = _LEFT + _CELL_W * len(across) + 16, _TOP + _CELL_H * len(down) + 44
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="22" font-size="15" font-weight="bold" fill="#1b1f24">{escape(title)}</text>',
    ]
    for column, label in enumerate(across):
        x = _LEFT + _CELL_W * (column + 0.5)
        parts.append(f'<text x="{x}" y="{_TOP - 10}" text-anchor="middle" fill="#57606a">{escape(label)}</text>')
    for row, label in enumerate(down):
        y = _TOP + _CELL_H * (row + 0.5) + 4
        parts.append(f'<text x="{_LEFT - 10}" y="{y}" text-anchor="end" fill="#57606a">{escape(label)}</text>')
        for column, value in enumerate(values[row]):
            parts += _cell(column, row, value, _share(value, values))
    middle = _LEFT + _CELL_W * len(across) / 2
    parts.append(f'<text x="{middle}" y="{height - 14}" text-anchor="middle" fill="#1b1f24">{escape(axes[0])}</text>')
    parts.append(f'<text x="16" y="{_TOP - 10}" fill="#1b1f24">{escape(axes[1])}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def heat_lines(across: Sequence[str], down: Sequence[str], values: Grid, *, axes: tuple[str, str]) -> list[Text]:
    """The same for a terminal, coloured where it has colours; the figures stand in the cells."""
    first = max(len(axes[1]), *map(len, down)) + 2
    size = max(8, *(len(label) + 2 for label in across))
    lines = [Text(f"{axes[1]:<{first}}" + "".join(f"{label:^{size}}" for label in across) + f"  {axes[0]}")]
    for label, row in zip(down, values, strict=True):
        line = Text(f"{label:<{first}}")
        for value in row:
            text = f"{'' if value is None else f'{value:.2f}':^{size}}"
            r, g, b = _colour(_share(value, values))
            ink = "white" if r + g + b < 3 * _DARK else "black"
            line.append(text, style="" if value is None else f"{ink} on rgb({r},{g},{b})")
        lines.append(line)
    return lines


def _share(value: float | None, values: Grid) -> float | None:
    """Where a value lies between the worst and the best, -1..1, with 0 at 0 if the grid has both signs."""
    known = [one for row in values for one in row if one is not None]
    if value is None or not known:
        return None
    low, high = min(known), max(known)
    if low < 0 < high:
        return value / high if value > 0 else -value / low
    return 0.0 if high == low else 2.0 * (value - low) / (high - low) - 1.0


def _colour(share: float | None) -> tuple[int, int, int]:
    if share is None:
        return _MIDDLE
    end = _GOOD if share > 0 else _BAD
    r, g, b = (round(m + (e - m) * abs(share)) for m, e in zip(_MIDDLE, end, strict=True))
    return r, g, b


def _cell(column: int, row: int, value: float | None, share: float | None) -> list[str]:
    x, y = _LEFT + _CELL_W * column, _TOP + _CELL_H * row
    if value is None:
        return [f'<rect x="{x}" y="{y}" width="{_CELL_W - 2}" height="{_CELL_H - 2}" fill="none" stroke="#d0d7de"/>']
    r, g, b = _colour(share)
    ink = "#ffffff" if r + g + b < 3 * _DARK else "#1b1f24"
    at = f'x="{x + _CELL_W / 2 - 1}" y="{y + _CELL_H / 2 + 3}"'
    return [
        f'<rect x="{x}" y="{y}" width="{_CELL_W - 2}" height="{_CELL_H - 2}" rx="3" fill="rgb({r},{g},{b})"/>',
        f'<text {at} text-anchor="middle" fill="{ink}">{value:.2f}</text>',
    ]
