"""Score: the wiring of a system as one self-contained SVG picture, stations across, one line per type of event.

A line leaves its producers at a dot and reaches its consumers at arrowheads, so however many there are, none crosses
another. Knows routes; what they carry and who looks at them is not known here.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final
from xml.sax.saxutils import escape

from eventbus import Kind
from quantum_trader.wiring import Route, Wiring

COLOURS: Final = {
    Kind.EVENT: "#57606a",
    Kind.QUOTE: "#1a7f37",
    Kind.SIGNAL: "#0969da",
    Kind.EXECUTION: "#cf222e",
    Kind.CONTROL: "#8250df",
}
GAP: Final = "#fb8500"

_LEFT, _TOP, _RIGHT, _BOTTOM = 232, 236, 160, 46
_COLUMN, _ROW = 34, 20
_HEAD: Final = 5
_GREY: Final = "#57606a"


def score(wiring: Wiring, title: str) -> str:
    """The SVG text of a wiring. Types that lead from nowhere or to nowhere stand out and are marked."""
    stations = wiring.stations
    places = {name: _LEFT + _COLUMN * (number + 0.5) for number, name in enumerate(stations)}
    # A route stands where its producer does, so the lines run down the picture like stairs.
    routes = sorted(
        (route for route in wiring.routes if route.producers or route.consumers),
        key=lambda route: (min((places[name] for name in route.producers), default=0.0), route.type),
    )
    width = _LEFT + _COLUMN * len(stations) + _RIGHT
    height = _TOP + _ROW * len(routes) + _BOTTOM
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="12">',
        f'<rect width="{width}" height="{height}" fill="#ffffff"/>',
        f'<text x="16" y="28" font-size="16" font-weight="bold" fill="#1b1f24">{escape(title)}</text>',
        *_legend({route.kind for route in routes}),
        *_columns(places, height),
    ]
    for number, route in enumerate(routes):
        parts += _line(route, places, _TOP + _ROW * (number + 0.5))
    if wiring.onlookers:
        text = f"Everything is looked on by {', '.join(wiring.onlookers)}."
        parts.append(f'<text x="16" y="{height - 16}" fill="#57606a">{escape(text)}</text>')
    return "\n".join([*parts, "</svg>"]) + "\n"


def _legend(kinds: set[Kind]) -> Iterator[str]:
    shown = [kind for kind in COLOURS if kind in kinds]
    for number, kind in enumerate(shown):
        colour = COLOURS[kind]
        y = 52 + 18 * number
        yield f'<line x1="16" y1="{y}" x2="44" y2="{y}" stroke="{colour}" stroke-width="2"/>'
        yield f'<text x="52" y="{y + 4}" fill="#1b1f24">{kind.value}</text>'
    y = 56 + 18 * len(shown)
    marks = (_dot(20, y), _arrow(24, y + 18, 1, _GREY), _dot(20, y + 36) + _ring(20, y + 36, _GREY))
    for number, (mark, what) in enumerate(zip(marks, ("publishes", "hears", "hears itself"), strict=True)):
        yield f'{mark}<text x="52" y="{y + 18 * number + 4}" fill="#1b1f24">{what}</text>'


def _columns(places: dict[str, float], height: int) -> Iterator[str]:
    for name, x in places.items():
        yield f'<line x1="{x}" y1="{_TOP - 6}" x2="{x}" y2="{height - _BOTTOM + 4}" stroke="#e3e6ea"/>'
        yield (
            f'<text transform="translate({x + 4},{_TOP - 12}) rotate(-60)" fill="#1b1f24"'
            f' font-weight="bold">{escape(name)}</text>'
        )


def _line(route: Route, places: dict[str, float], y: float) -> Iterator[str]:
    colour = GAP if route.is_unheard or route.is_unsaid else COLOURS[route.kind]
    from_, to = [places[name] for name in route.producers], [places[name] for name in route.consumers]
    yield f'<text x="{_LEFT - 8}" y="{y + 4}" text-anchor="end" fill="{colour}">{escape(route.type)}</text>'
    yield f'<line x1="{min(from_ + to)}" y1="{y}" x2="{max(from_ + to)}" y2="{y}" stroke="{colour}" stroke-width="1.4"/>'
    for x in from_:
        yield _dot(x, y, colour)
    for x in to:
        if x in from_:  # it hears itself
            yield _ring(x, y, colour)
        else:
            yield _arrow(x, y, 1 if any(producer < x for producer in from_) else -1, colour)
    if route.is_unheard or route.is_unsaid:
        what = "heard by nobody" if route.is_unheard else "published by nobody"
        yield f'<text x="{max(from_ + to) + 12}" y="{y + 4}" fill="{colour}" font-weight="bold">{what}</text>'
    elif not to and route.producers:
        yield f'<text x="{max(from_) + 12}" y="{y + 4}" fill="#8c959f" font-style="italic">for onlookers</text>'


def _dot(x: float, y: float, colour: str = _GREY) -> str:
    return f'<circle cx="{x}" cy="{y}" r="3.5" fill="{colour}"/>'


def _ring(x: float, y: float, colour: str) -> str:
    return f'<circle cx="{x}" cy="{y}" r="6" fill="none" stroke="{colour}"/>'


def _arrow(x: float, y: float, direction: int, colour: str) -> str:
    back = x - direction * 2 * _HEAD
    return f'<path d="M{x} {y}L{back} {y - _HEAD + 0.5}L{back} {y + _HEAD - 0.5}Z" fill="{colour}"/>'
