"""Plot: well-formed SVG, every line in its frame, text escaped."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from xml.etree import ElementTree as ET

import pytest

from quantum_trader.monitoring.plot import HEIGHT, WIDTH, Line, line_chart, nice_ticks

TIMES = [datetime(2020, 1, 1, tzinfo=UTC) + timedelta(days=day) for day in range(400)]
SVG = "{http://www.w3.org/2000/svg}"


def drawn(*lines: Line, times: list[datetime] | None = None) -> ET.Element:
    return ET.fromstring(line_chart("Equity & <more>", TIMES if times is None else times, lines))


def test_lines_stay_inside_the_frame() -> None:
    root = drawn(
        Line("up", [float(n) for n in range(400)], "#123456"), Line("down", [-float(n) for n in range(400)], "red")
    )
    lines = root.findall(f"{SVG}polyline")
    assert len(lines) == 2
    for line in lines:
        points = [tuple(map(float, point.split(","))) for point in line.attrib["points"].split()]
        assert all(0 <= x <= WIDTH and 0 <= y <= HEIGHT for x, y in points)


def test_text_is_escaped_and_years_are_marked() -> None:
    texts = [element.text for element in drawn(Line("a<b", [1.0] * 400, "red")).iter(f"{SVG}text")]
    assert "Equity & <more>" in texts
    assert "a<b" in texts
    assert "2021" in texts


@pytest.mark.parametrize("count", [1, 2, 5_000])
def test_any_number_of_points_can_be_drawn(count: int) -> None:
    times = [TIMES[0] + timedelta(hours=n) for n in range(count)]
    root = drawn(Line("x", [float(n % 7) for n in range(count)], "red"), times=times)
    (line,) = root.findall(f"{SVG}polyline")
    assert 1 <= len(line.attrib["points"].split()) <= 2_600


def test_what_cannot_be_drawn_is_named() -> None:
    with pytest.raises(ValueError, match="times: nothing to draw"):
        line_chart("x", [], [])
    with pytest.raises(ValueError, match="equity: 1 values for 400 times"):
        line_chart("x", TIMES, [Line("equity", [1.0], "red")])


def test_ticks_are_round_and_span_the_range() -> None:
    assert nice_ticks(0.0, 10.0) == [0.0, 2.0, 4.0, 6.0, 8.0, 10.0]
    ticks = nice_ticks(983_000.0, 5_325_025.0)
    assert ticks[0] <= 983_000.0
    assert ticks[-1] >= 5_325_025.0
    assert nice_ticks(3.0, 3.0) == [3.0, 4.0]
