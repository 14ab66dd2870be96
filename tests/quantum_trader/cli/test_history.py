"""Runs on disk: continued, checked, compared and explained from the command line; what is wrong is one line with a remedy."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from eventbus import JournalUnavailable
from eventbus.journal.sqlite import SqliteJournal, SqliteReader
from eventbus.journal.values import Append, Appended, Record
from quantum_trader.alpha.families import Momentum
from quantum_trader.app import load_feed, run_replay
from quantum_trader.cli import main
from quantum_trader.runs.folder import RunFolder

RANGE = ("--to", "2000-10-20", "--symbols", "AAPL,IBM", "--config", "config")


def qt(*arguments: str) -> int:
    """The exit code of a command."""
    with pytest.raises(SystemExit) as ended:
        main(arguments)
    code = ended.value.code
    assert isinstance(code, int)
    return code


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a configuration and a complete run of it."""
    home = tmp_path_factory.mktemp("home")
    (home / "config").mkdir()
    (home / "config" / "strategies.toml").write_text("all_live = true\n")
    (home / "config" / "app.toml").write_text("checkpoint_every = 40\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(home)
        assert qt("replay", *RANGE, "--json", "--output", "runs/whole") == 0
    return home


@pytest.fixture
def home(finished: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Path:
    """A copy of it as the working directory."""
    shutil.copytree(finished, tmp_path, dirs_exist_ok=True)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("COLUMNS", "200")
    capsys.readouterr()
    return tmp_path


@pytest.fixture
def said(capsys: pytest.CaptureFixture[str]) -> Callable[..., Any]:
    """What a command that goes well prints: JSON where it was asked for."""

    def said(*arguments: str) -> Any:
        assert qt(*arguments) == 0
        out = capsys.readouterr().out
        return json.loads(out) if "--json" in arguments else out

    return said


@pytest.fixture
def complaint(capsys: pytest.CaptureFixture[str]) -> Callable[..., tuple[int, str]]:
    """Exit code and the one line of a command that goes wrong."""

    def complaint(*arguments: str) -> tuple[int, str]:
        capsys.readouterr()
        code = qt(*arguments)
        lines = capsys.readouterr().err.strip().splitlines()
        assert len(lines) == 1, lines
        return code, lines[0]

    return complaint


def records(journal: Path) -> list[Record]:
    with SqliteReader(journal) as reader:
        return reader.read(0, 1_000_000)


def rewrite(journal: Path, keep: Callable[[Record], bool]) -> None:
    """A sound journal with some of the records of this one."""
    kept = [Append(*record[1:]) for record in records(journal) if keep(record)]
    for file in journal.parent.glob("run.db*"):
        file.unlink()

    async def write() -> None:
        async with SqliteJournal(journal) as fresh:
            await fresh.append(kept)

    asyncio.run(write())


# --- continuing ----------------------------------------------------------------------------------------------------------


def test_a_run_done_in_parts_is_the_run_done_at_once(home: Path, said: Callable[..., Any]) -> None:
    assert said("replay", *RANGE, "--json", "--output", "parts", "--until-session", "49") == {
        "run": "parts",
        "sessions": 50,
        "complete": False,
    }
    assert "stopped after 101 of 164 sessions; continue with: qt resume parts" in said(
        "resume", "parts", "--until-session", "100"
    )
    report = said("resume", "parts", "--json")
    whole = json.loads((home / "runs" / "whole" / "report.json").read_text())
    assert {**report, "run": "", "plot": ""} == {**whole, "run": "", "plot": ""}
    assert "the same: " in said("diff", "parts", "runs/whole")


def test_a_torn_checkpoint_costs_time_and_nothing_else(
    home: Path, said: Callable[..., Any], complaint: Callable[..., tuple[int, str]]
) -> None:
    said("replay", *RANGE, "--output", "torn", "--until-session", "130")
    code, line = complaint("report", "torn")
    assert code == 3
    assert "the run is unfinished; continue it with: qt resume torn" in line
    newest, older = sorted((home / "torn").glob("checkpoint-*"), reverse=True)
    newest.write_bytes(newest.read_bytes()[:-100])
    older.write_bytes(older.read_bytes().replace(b'"equity"', b'"equiti"', 1))
    said("resume", "torn", "--json")
    assert "the same: " in said("diff", "torn", "whole")


def test_an_unfinished_run_is_never_overwritten(
    home: Path, said: Callable[..., Any], complaint: Callable[..., tuple[int, str]]
) -> None:
    first = said("replay", *RANGE, "--json", "--until-session", "3")["run"]
    assert said("replay", *RANGE, "--json", "--until-session", "3")["run"] == f"{first}-2"
    code, line = complaint("replay", *RANGE, "--output", first)
    assert code == 2
    assert f"an unfinished run is there; continue it with: qt resume {first}, or choose another --output" in line


def test_the_journal_changes_nothing_that_is_decided(home: Path) -> None:
    config = RunFolder(home / "runs" / "whole").config()
    _, completed = run_replay(config, load_feed(config))
    assert completed.digest == json.loads((home / "runs" / "whole" / "report.json").read_text())["digest"]


def test_a_complete_run_is_told_again_and_replaced_by_a_new_one(home: Path, said: Callable[..., Any]) -> None:
    report = json.loads((home / "runs" / "whole" / "report.json").read_text())
    assert said("resume", "whole", "--json") == report
    assert "complete" in said("resume", "whole")
    assert said("replay", *RANGE, "--json", "--output", "runs/whole")["digest"] == report["digest"]


def test_what_cannot_be_continued_is_told(home: Path, complaint: Callable[..., tuple[int, str]]) -> None:
    code, line = complaint("resume", "hole")
    assert code == 3
    assert "no such run; known in runs are whole" in line
    (home / "runs" / "whole" / "report.json").unlink()
    config = home / "runs" / "whole" / "config.json"
    config.write_text(config.read_text().replace('"seed": 7', '"seed": 8'))
    code, line = complaint("resume", "whole")
    assert code == 3
    assert "the run was started with config_sha256" in line
    config.write_text("{}, or something")
    code, line = complaint("resume", "whole")
    assert code == 3
    assert "not a readable configuration" in line


def test_a_run_that_another_process_writes_is_left_alone(home: Path, complaint: Callable[..., tuple[int, str]]) -> None:
    whole = home / "runs" / "whole"
    (whole / "report.json").unlink()

    def contents() -> dict[str, bytes]:
        return {file.name: file.read_bytes() for file in whole.iterdir() if not file.name.startswith("run.db")}

    async def resume() -> tuple[int, str]:
        async with SqliteJournal(whole / "run.db"):
            return await asyncio.to_thread(complaint, "resume", "whole")

    before = contents()
    code, line = asyncio.run(resume())
    assert code == 3
    assert "run.db" in line
    assert contents() == before


def test_a_run_whose_disk_is_full_ends_and_goes_on_when_there_is_room(
    home: Path, said: Callable[..., Any], complaint: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    append = SqliteJournal.append
    batches = iter(range(3))

    def until_full(self: SqliteJournal, batch: Sequence[Append]) -> Awaitable[Sequence[Appended]]:
        if next(batches, None) is None:
            raise JournalUnavailable("run.db", "the disk is full")
        return append(self, batch)

    monkeypatch.setattr(SqliteJournal, "append", until_full)
    code, line = complaint("replay", *RANGE, "--output", "full")
    assert code == 3
    assert "the disk is full" in line
    monkeypatch.setattr(SqliteJournal, "append", append)
    said("resume", "full", "--json")
    assert "the same: " in said("diff", "full", "whole")


def test_a_step_that_comes_out_differently_when_it_is_done_again_is_told(
    home: Path, said: Callable[..., Any], complaint: Callable[..., tuple[int, str]], monkeypatch: pytest.MonkeyPatch
) -> None:
    said("replay", *RANGE, "--output", "changed", "--until-session", "90")
    newest = max((home / "changed").glob("checkpoint-*"))
    newest.unlink()  # as if it had died before it was written
    monkeypatch.setattr(Momentum, "update", lambda _self, _bar: 1)
    code, line = complaint("resume", "changed")
    assert code == 1
    assert "what is done again comes out differently" in line


# --- checking ------------------------------------------------------------------------------------------------------------


def test_verify_computes_again_what_a_run_claims(home: Path, said: Callable[..., Any]) -> None:
    findings = said("verify", "whole", "--json")
    assert [finding["check"] for finding in findings] == ["journal", "origin", "digest", "books"]
    assert all(finding["is_well"] for finding in findings)
    assert "as claimed" in said("verify", "whole")


def test_a_run_whose_journal_is_elsewhere_is_looked_at_there_and_asks_where_that_is(
    home: Path, said: Callable[..., Any], complaint: Callable[..., tuple[int, str]]
) -> None:
    run = RunFolder(home / "runs" / "whole")
    (home / "elsewhere").mkdir()
    for file in run.path.glob("run.db*"):
        file.rename(home / "elsewhere" / file.name)
    run.elsewhere.write_text("{}")
    for command in ("verify", "serve"):
        code, line = complaint(command, "whole")
        assert (code, "its journal is on a server: say --bus URL" in line) == (3, True)
    url = f"sqlite:///{home}/elsewhere/run.db"
    assert "as claimed" in said("verify", "whole", "--bus", url)
    assert replace(run, bus=url).source == url


def test_verify_misses_a_fill_that_was_taken_out(home: Path, complaint: Callable[..., tuple[int, str]]) -> None:
    journal = home / "runs" / "whole" / "run.db"
    fill = next(record for record in records(journal) if record.type == "trade.executed")
    rewrite(journal, lambda record: record != fill)
    code, line = complaint("verify", "whole", "--json")
    assert code == 1
    assert "the run claims" in line


def test_verify_finds_statements_that_the_fills_do_not_give(
    home: Path, complaint: Callable[..., tuple[int, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    journal = home / "runs" / "whole" / "run.db"
    rewrite(journal, lambda record: record.type != "trade.executed")
    assert qt("verify", "whole", "--json") == 1
    findings = {finding["check"]: finding for finding in json.loads(capsys.readouterr().out)}
    assert "the statement is not what the fills give" in findings["books"]["detail"]


def test_verify_finds_an_altered_record(
    home: Path, complaint: Callable[..., tuple[int, str]], capsys: pytest.CaptureFixture[str]
) -> None:
    journal = home / "runs" / "whole" / "run.db"
    raw = journal.read_bytes()
    place = raw.rindex(b'"type":"session.decide"')
    journal.write_bytes(raw[:place] + b'"type":"session.decidE"' + raw[place + 23 :])
    code, line = complaint("verify", "whole")
    assert code == 1
    assert line.startswith("qt: journal: ")
    (home / "runs" / "whole" / "report.json").unlink()
    capsys.readouterr()
    assert qt("resume", "whole") == 3
    assert "restore a copy, or start the run anew: it decides the same" in capsys.readouterr().err


# --- comparing -----------------------------------------------------------------------------------------------------------


def test_diff_names_the_setting_and_the_first_decision_that_differ(
    home: Path, said: Callable[..., Any], capsys: pytest.CaptureFixture[str]
) -> None:
    (home / "config" / "execution.toml").write_text("half_spread_bp = 9.0\n")
    said("replay", *RANGE, "--json", "--output", "dear")
    assert qt("diff", "whole", "dear", "--json") == 1
    parting = json.loads(capsys.readouterr().out)
    assert parting["configuration"] == {"execution.half_spread_bp": [2.0, 9.0]}
    assert parting["one"]["type"] == parting["other"]["type"] == "monitoring.metric_recorded"
    assert qt("diff", "whole", "dear") == 1
    assert f"they part after {parting['same']:,} equal decisions" in capsys.readouterr().out


# --- looking -------------------------------------------------------------------------------------------------------------


def test_events_are_chosen_by_type_symbol_and_date(home: Path, capsys: pytest.CaptureFixture[str]) -> None:
    day = ("--from", "2000-09-29", "--to", "2000-09-29")
    assert qt("events", "whole", "--type", "market.*", "--type", "feed.*", "--symbol", "AAPL", *day, "--json") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [event["type"] for event in found] == ["market.bar", "feed.anomaly"]
    assert qt("events", "whole", "--symbol", "AAPL", *day, "-n", "2") == 0
    assert len(capsys.readouterr().out.splitlines()) == 2
    assert qt("events", "whole", "--type", "no.such", "--follow") == 0
    assert capsys.readouterr().out == "no such events\n"


def test_why_leads_from_the_bar_to_the_fills(home: Path, said: Callable[..., Any]) -> None:
    fill = next(record for record in records(home / "runs" / "whole" / "run.db") if record.type == "trade.executed")
    fill_id = json.loads(fill.body)["event"]["fill_id"]
    step = said("why", fill_id, "--json")
    steps = [step["step"]]
    while step["step"] != "checks":
        (step,) = step["then"]
        steps.append(step["step"])
    assert steps == ["bar", "signal", "proposal", "size", "checks"]
    assert [fate["step"] for fate in step["then"]][:2] == ["accepted", "fill"]
    drawn = said("why", fill_id, "--run", "whole")
    assert (
        drawn.index("signal") < drawn.index("proposal") < drawn.index("verdict approved") < drawn.index("trigger OPEN")
    )


def test_why_says_which_check_denied_an_order(home: Path, said: Callable[..., Any]) -> None:
    (home / "config" / "risk.toml").write_text("max_orders_per_symbol = 0\n")
    said("replay", *RANGE, "--json", "--output", "denied")
    denied = next(record for record in records(home / "denied" / "run.db") if record.type == "order.denied")
    checks = said("why", json.loads(denied.body)["event"]["order_id"], "--run", "denied", "--json")
    while checks["step"] != "checks":
        (checks,) = checks["then"]
    assert checks["facts"]["code"] == "ORDER_RATE"
    assert checks["facts"]["passed"][-1] == "DUPLICATE"


def test_an_order_or_a_run_that_is_not_there_is_told(home: Path, complaint: Callable[..., tuple[int, str]]) -> None:
    code, line = complaint("why", "7-trend-10-50-AAPL-BUY-1")
    assert code == 1
    assert "no order '7-trend-10-50-AAPL-BUY-1'; qt events runs/whole --type 'order.*' lists them" in line
    for command in (("verify", "hole"), ("events", "hole"), ("diff", "whole", "hole"), ("why", "x", "--run", "hole")):
        code, line = complaint(*command)
        assert code == 3
        assert "no such run" in line
