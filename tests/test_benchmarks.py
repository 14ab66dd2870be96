"""Benchmarks: none of their rows is missing from the documentation, and each of them still runs."""

from __future__ import annotations

import gc
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from benchmarks.compare import Figure, Settings, measure, nothing_old_collected, once
from benchmarks.report import dumped, loaded
from benchmarks.rows import Now, Place, Row, Run, at_most, speed, times
from benchmarks.table import ROWS, TABLE, selected

ROOT = Path(__file__).parent.parent
PAGE, README = ROOT / "docs" / "figures.md", ROOT / "README.md"
FEW = 20  # events


@pytest.fixture(scope="module", autouse=True)
def no_collection_of_the_whole_suite() -> Iterator[None]:
    with nothing_old_collected():
        yield
    gc.collect()
    gc.freeze()  # as it was: of what was imported and collected the tests that come later make no garbage


def table_of(page: Path, *, heading: str) -> list[list[str]]:
    """The cells of the rows below the table head that begins with `heading`."""
    lines = iter(page.read_text(encoding="utf-8").splitlines())
    next(line for line in lines if line.startswith(f"| {heading} |"))
    next(lines)
    found = []
    for line in lines:
        if not line.startswith("|"):
            break
        found.append([cell.strip() for cell in line.strip("|").split("|")])
    return found


def test_each_row_has_a_name_of_its_own() -> None:
    assert [name for name, times in Counter(row.name for row in ROWS).items() if times > 1] == []


def test_every_row_is_documented_with_what_is_asked_of_it() -> None:
    documented = [(row, asked) for row, _against, asked, *_figures in table_of(PAGE, heading="row")]
    assert documented == [(row.name, str(row.aim)) for row in ROWS]


def test_the_readme_quotes_rows_that_are_measured() -> None:
    quoted = [row for row, *_figures in table_of(README, heading="row")]
    assert quoted
    assert [row for row in quoted if row not in {each.name for each in ROWS}] == []


@pytest.mark.parametrize(
    "row",
    [pytest.param(row, id=row.name, marks=pytest.mark.long if "two processes" in row.name else ()) for row in ROWS],
)
def test_row_can_be_measured(row: Row, pytestconfig: pytest.Config) -> None:
    """Each side checks its deliveries itself."""
    loop = pytestconfig.getoption("--loop")
    once(row.bus, FEW, loop, row.clock)
    if row.baseline is not None:
        assert once(row.baseline, FEW, loop, row.clock) >= 0


def costing(seconds: float, calls: list[float]) -> Run:
    async def run(_count: int, _now: Now) -> float:
        calls.append(seconds)
        return seconds

    return run


def test_speed_is_the_time_of_the_baseline_over_that_of_the_bus_and_times_is_the_inverse() -> None:
    bus, baseline = costing(2.0, []), costing(1.0, [])
    assert measure(Row("a speed", speed(1), bus, baseline), Settings(rounds=1)).number == 0.5
    assert measure(Row("a time", times(1), bus, baseline), Settings(rounds=1)).number == 2.0
    assert measure(Row("a figure", at_most(3, "us"), bus), Settings(rounds=1)).number == 2.0


def test_sides_have_their_turns_and_who_begins_changes() -> None:
    calls: list[float] = []
    row = Row("turns", speed(1), costing(1, calls), costing(2, calls), peers={"a peer": costing(3, calls)})
    figure = measure(row, Settings(rounds=2))
    assert calls == [1, 2, 3, 2, 3, 1, 3, 1, 2]
    assert figure.peers == {"a peer": 3}


def test_rows_are_found_by_subject_and_by_word() -> None:
    assert selected(["churn"]) == list(TABLE["churn"])
    assert [row.name for row in selected(["decimals"])] == ["handler multiplies two Decimals"]
    assert selected([]) == list(ROWS)
    with pytest.raises(LookupError):
        selected(["no such row"])


def test_what_is_asked_depends_on_interpreter_and_loop() -> None:
    old, new, other = Place((3, 11), "asyncio"), Place((3, 13), "asyncio"), Place((3, 11), "uvloop")
    assert speed(0.85, newer=0.65).is_reached(0.7, new)
    assert not speed(0.85, newer=0.65).is_reached(0.7, old)
    assert speed(0.32, uvloop=0.22).is_reached(0.25, other)
    assert not speed(0.32, uvloop=0.22).is_reached(0.25, old)
    assert times(2).is_reached(1.9, old)
    assert not times(2).is_reached(2.1, old)
    assert str(at_most(64, "B")) == "<= 64 B"


def test_figures_kept_by_one_run_are_read_by_another() -> None:
    results = {Place((3, 11), "asyncio"): {"a row": Figure(0.5, 0.4, 0.6, 2e-6, 1e-6, {"a peer": 3e-6})}}
    assert loaded(dumped(results)) == results


@pytest.mark.long
def test_a_run_prints_rows_peers_and_what_has_a_process_of_its_own() -> None:
    words = "one handler,fan-out,100 types,typed,suspends once,publish_and_wait,subscriptions made,a subscription"
    small = ["--rounds", "1", "--scale", "0.001", "--markdown"]
    run = subprocess.run(
        [sys.executable, "-m", "benchmarks", "--rows", words, *small],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    printed = {line.split("|")[1].strip() for line in run.stdout.splitlines() if line.startswith("|")}
    assert printed >= {row.name for row in selected(words.split(","))}
