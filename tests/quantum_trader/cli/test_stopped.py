"""A run that trading was stopped in, from the file of prices to the exit code; and data that a run would rather not take."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.quantum_trader.conftest import Terminal

OPEN = {
    "app": "",
    "ranker": "enabled = false\n",
    "spc": "enabled = false\n",
    "policy": 'fixed_mode = "AGGRESSIVE"\n[aggressive]\nglobal_min_confidence = 0.0\nmax_risk_per_trade = 1.0\nmax_positions = 9\n'
    "gross_limit = 1.0\ntop_n = 9\n",
    "strategies": 'all_live = true\nstop_atr = 0.0\nseeds = [{ family = "trend", params = [2, 5] }]\n',
}
HEADER = "symbol,date,open,high,low,close,volume\n"
START = date(2020, 1, 1)


def rows(symbol: str, closes: list[float], *, first: date = START, step: int = 1) -> str:
    days = (first + timedelta(days=step * number) for number in range(len(closes)))
    opens = [closes[0], *closes[:-1]]
    return "".join(
        f"{symbol},{day},{opened},{max(opened, close)},{min(opened, close)},{close},1000000\n"
        for day, opened, close in zip(days, opens, closes, strict=True)
    )


@pytest.fixture
def ruin(terminal: Terminal) -> Terminal:
    """A data set in which everything bought loses 40 % in a day, and a configuration that buys."""
    (terminal.home / "conf").mkdir()
    for name, text in OPEN.items():
        (terminal.home / "conf" / f"{name}.toml").write_text(text)
    closes = [*[100 * 1.01**n for n in range(30)], *[80.0 + n % 7 for n in range(30)]]
    (terminal.home / "ruin.csv").write_text(HEADER + "".join(rows(f"S{n}", closes) for n in range(4)))
    terminal.ok("data", "import", "ruin.csv", "--allow-jumps")
    return terminal


def test_a_drawdown_that_stops_trading_leads_the_report_and_is_an_error_where_that_is_wanted(ruin: Terminal) -> None:
    run = ("replay", "--data", "ruin", "--config", "conf")
    out = ruin.ok(*run, "--output", "one")
    assert "Trading stopped" in out
    assert "REDUCE_ONLY latched; nothing was bought since" in out
    assert "Five surviving stocks" not in out
    assert ruin.qt(*run, "--output", "two", "--strict") == 4
    assert "the run ended with trading stopped: drawdown" in ruin.complaint()
    live, read = ruin.home / "one" / "report.json", ruin.json("report", "one", "--json")
    assert read["stops"][0]["mode"] == "REDUCE_ONLY"
    assert read["denials"]["KILL_SWITCH"] > 0
    assert read["funnel"] == ruin.json("report", "two", "--json")["funnel"]
    assert live.is_file()


def test_a_report_read_from_its_file_is_the_one_that_was_made(ruin: Terminal) -> None:
    made = ruin.json("replay", "--data", "ruin", "--config", "conf", "--output", "one", "--json")
    read = ruin.json("report", "one", "--json")
    assert {key: value for key, value in made.items() if key != "plot"} == read


def test_every_command_of_the_first_minute_works_as_it_is_printed(ruin: Terminal) -> None:
    out = ruin.ok("replay", "--data", "ruin", "--config", "conf", "--output", "one")
    lines = [line for line in out.splitlines() if line.startswith("qt ")]
    assert [line.split()[1] for line in lines] == ["report", "why", "strategies", "spc"]
    for line in lines:
        ruin.ok(*line.partition("   ")[0].split()[1:])


def test_jumps_in_a_file_are_refused_with_what_they_look_like(terminal: Terminal) -> None:
    split = "X,2020-01-01,100,100,100,100,10\nX,2020-01-02,10,10,10,10,100\n"
    (terminal.home / "split.csv").write_text(HEADER + split)
    assert terminal.qt("data", "import", "split.csv") == 3
    assert "X on 2020-01-02: close 100 to 10 (-90.0 %), like a split of 10:1" in terminal.complaint()
    assert terminal.qt("data", "import", "split.csv", "--allow-jumps", "--adjust-splits") == 3
    assert "give one of them" in terminal.complaint()
    out = terminal.ok("data", "import", "split.csv", "--adjust-splits")
    assert "one bar a day: sessions are dates" in out
    assert "adjusted: X on 2020-01-02: close 100 to 10 (-90.0 %), like a split of 10:1" in out


def test_symbols_that_hardly_meet_are_refused_or_accepted_by_the_user_s_word(terminal: Terminal) -> None:
    flat = [10.0] * 30
    text = rows("AAA", flat, step=2) + rows("BBB", flat, first=START + timedelta(days=1), step=2)
    (terminal.home / "apart.csv").write_text(HEADER + text)
    terminal.ok("data", "import", "apart.csv")
    assert terminal.qt("replay", "--data", "apart") == 3
    assert "AAA and BBB share 0 of 29 sessions" in terminal.complaint()
    assert "--align outer" in terminal.err
    assert "warning: AAA and BBB share 0 of 29 sessions" in terminal.ok("data", "describe", "apart")
    out = terminal.ok("replay", "--data", "apart", "--align", "outer")
    assert "warning: AAA and BBB share 0 of 29 sessions" in out
    assert "Why nothing traded" in out
