"""Report: what was measured, as a table for people, as Markdown rows, and as JSON that another run can be laid beside."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks.compare import Figure
from benchmarks.rows import Place, Row

Results = dict[Place, dict[str, Figure]]


def show(rows: Iterable[Row], results: Results, console: Console) -> None:
    """A table for each place."""
    for place, figures in results.items():
        table = Table(title=f"Python {place}", title_justify="left")
        for heading in ("row", "bus", "baseline", "against", "figure", "asked", ""):
            table.add_column(heading, justify="left" if heading in ("row", "against", "asked", "") else "right")
        for row in rows:
            if (figure := figures.get(row.name)) is None:
                continue
            is_reached = row.aim.is_reached(figure.number, place)
            table.add_row(
                row.name,
                "" if figure.baseline is None else duration(figure.bus),
                "" if figure.baseline is None else duration(figure.baseline),
                "" if figure.baseline is None else row.against,
                _spread(figure),
                str(row.aim),
                "[green]yes[/]" if is_reached else "[red]no[/]",
            )
            for peer, cost in sorted(figure.peers.items(), key=lambda item: item[1]):
                table.add_row(f"  {peer}", _of_peer(row, cost), "", "", "", "", "", style="dim")
        console.print(table)


def markdown(rows: Iterable[Row], results: Results, before: Results) -> Iterator[str]:
    """The rows of the documentation: words, number asked, numbers of an earlier run, numbers reached."""
    headings = ["row", "against", "asked", *(f"before, {place}" for place in before), *map(str, results)]
    yield line(headings)
    yield line(["---"] * len(headings))
    for row in rows:
        found = [figures.get(row.name) for figures in (*before.values(), *results.values())]
        if any(found):
            against = "" if row.baseline is None else row.against
            yield line(
                [row.name, against, str(row.aim), *("" if each is None else number(each.number) for each in found)]
            )


def peers_markdown(rows: Iterable[Row], results: Results) -> Iterator[str]:
    """Time of an event with the bus, and with each peer."""
    for place, figures in results.items():
        measured = [(row, figures[row.name]) for row in rows if row.name in figures and figures[row.name].peers]
        peers = list(dict.fromkeys(peer for _, figure in measured for peer in figure.peers))
        if not measured:
            continue
        yield line([str(place), "eventbus", *peers])
        yield line(["---"] * (2 + len(peers)))
        for row, figure in measured:
            cells = [_of_peer(row, figure.peers[peer]) if peer in figure.peers else "" for peer in peers]
            yield line([row.name, _of_peer(row, figure.bus), *cells])


def line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def number(value: float) -> str:
    """As many digits as are worth reading."""
    if abs(value) >= 100:
        return f"{value:,.0f}"
    return f"{value:.1f}" if abs(value) >= 10 else f"{value:.2f}"


def duration(seconds: float) -> str:
    for unit, size in (("s", 1.0), ("ms", 1e-3), ("us", 1e-6)):
        if seconds >= 2 * size:
            return f"{number(seconds / size)} {unit}"
    return f"{number(seconds / 1e-9)} ns"


def dumped(results: Results) -> str:
    whole = [
        {"python": place.python, "loop": place.loop, "figures": {name: asdict(each) for name, each in figures.items()}}
        for place, figures in results.items()
    ]
    return json.dumps(whole, indent=1)


def loaded(text: str) -> Results:
    whole: list[Mapping[str, Any]] = json.loads(text)
    return {
        Place(tuple(each["python"]), each["loop"]): {name: Figure(**figure) for name, figure in each["figures"].items()}
        for each in whole
    }


def _spread(figure: Figure) -> str:
    if figure.low == figure.high:
        return number(figure.number)
    return f"{number(figure.number)} ({number(figure.low)}-{number(figure.high)})"


def _of_peer(row: Row, cost: float) -> str:
    return duration(cost) if row.baseline is not None else f"{number(cost)} {row.aim.unit}"
