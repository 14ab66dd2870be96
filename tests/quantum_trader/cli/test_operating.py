"""Commands to a run: they wait while it is stopped, take effect where it goes on, and stay over restarts."""

from __future__ import annotations

import json
import re
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from quantum_trader.cli import main

if TYPE_CHECKING:
    from tests.quantum_trader.conftest import Terminal


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run that was stopped after session 350."""
    folder = tmp_path_factory.mktemp("stopped") / "run"
    command = ("replay", "--to", "2001-10-31", "--output", str(folder), "--until-session", "350")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("QT_STRATEGIES__ALL_LIVE", "true")
        with pytest.raises(SystemExit) as ended:
            main(command)
    assert ended.value.code == 0
    return folder


@pytest.fixture
def stopped(terminal: Terminal, original: Path) -> Terminal:
    """A terminal beside a copy of it, in the folder `run`."""
    shutil.copytree(original, terminal.home / "run")
    return terminal


def fills_after(terminal: Terminal, session: int) -> list[str]:
    """Sides of the fills that a run had after a session, by its analytics."""
    with closing(sqlite3.connect(terminal.home / "run" / "analytics.sqlite")) as db:
        rows = db.execute("SELECT side FROM trades WHERE session > ? ORDER BY session", (session,)).fetchall()
    return [side for (side,) in rows]


def test_a_halt_commanded_while_the_run_is_stopped_holds_when_it_goes_on_and_over_restarts(stopped: Terminal) -> None:
    assert "kill switch to HALT before its next session" in stopped.ok(
        "kill", "halt", "--reason", "drill", "--user", "ann", "--run", "run"
    )
    stopped.ok("resume", "run", "--until-session", "380")
    assert "HALT, latched, by ann: drill" in stopped.ok("kill", "show", "--run", "run")
    assert stopped.qt("resume", "run", "--json") == 4
    assert stopped.err.endswith("qt: the run ended halted: drill\n")
    assert fills_after(stopped, 351) == []


def test_reduce_only_lets_exits_pass_and_off_lets_everything_pass_again(stopped: Terminal) -> None:
    stopped.ok("kill", "reduce-only", "--reason", "careful", "--run", "run")
    stopped.ok("resume", "run", "--until-session", "380")
    assert set(fills_after(stopped, 352)) == {"SELL"}
    stopped.ok("kill", "off", "--reason", "fine", "--run", "run")
    assert json.loads(stopped.ok("resume", "run", "--json"))["sessions"] == 419
    assert "BUY" in fills_after(stopped, 380)


@pytest.mark.long
def test_a_run_that_was_commanded_comes_out_the_same_when_it_is_interrupted_again(
    stopped: Terminal,
) -> None:
    stopped.ok("kill", "reduce-only", "--reason", "careful", "--run", "run")
    stopped.ok("policy", "set", "defensive", "--reason", "news", "--run", "run")
    stopped.ok("resume", "run", "--until-session", "365")
    for checkpoint in (stopped.home / "run").glob("checkpoint-*"):
        checkpoint.unlink()  # everything is done again, from the journal's commands
    digest = stopped.json("resume", "run", "--json")["digest"]
    assert not list((stopped.home / "run" / "commands").iterdir())
    assert stopped.json("report", "run", "--json")["digest"] == digest


@pytest.mark.parametrize(
    ("content", "mode"), [pytest.param("{}", "HALT", marks=pytest.mark.long), ('{"mode": "OFF"', "HALT"), (None, "OFF")]
)
def test_a_kill_switch_that_cannot_be_read_is_a_halt(stopped: Terminal, content: str | None, mode: str) -> None:
    file = stopped.home / "run" / "killswitch.json"
    if content is not None:
        file.write_text(content)
    assert stopped.qt("resume", "run", "--json") == (4 if mode == "HALT" else 0)
    assert bool(fills_after(stopped, 352)) is (mode == "OFF")


def test_a_mode_that_only_the_file_remembers_holds_after_a_restart(stopped: Terminal) -> None:
    held = {"mode": "REDUCE_ONLY", "latched": True, "actor": "risk_guard", "reason": "drawdown"}
    (stopped.home / "run" / "killswitch.json").write_text(json.dumps(held))
    stopped.ok("resume", "run", "--json")
    assert set(fills_after(stopped, 352)) <= {"SELL"}
    assert "REDUCE_ONLY, latched, by risk_guard: kept over a restart: drawdown" in stopped.ok(
        "kill", "show", "--run", "run"
    )


def test_a_policy_that_cannot_be_read_blocks_entries_until_somebody_forces_one(stopped: Terminal) -> None:
    (stopped.home / "run" / "policy.json").write_text("damaged")
    stopped.ok("resume", "run", "--until-session", "352")
    policy = stopped.json("policy", "show", "--run", "run", "--json")
    assert (policy["risk_mode"], policy["allowed_strategies"]) == ("DEFENSIVE", [])
    stopped.ok("resume", "run", "--until-session", "390")
    assert stopped.json("policy", "show", "--run", "run", "--json")["allowed_strategies"] == []
    assert set(fills_after(stopped, 352)) <= {"SELL"}
    assert (stopped.home / "run" / "policy.json").read_text() == "damaged"
    stopped.ok("policy", "set", "NORMAL", "--reason", "restored", "--force", "--run", "run")
    stopped.ok("resume", "run", "--json")
    history = stopped.json("policy", "history", "--run", "run", "--json")
    assert any(one["allowed_strategies"] for one in history if one["session"] > 390)
    assert json.loads((stopped.home / "run" / "policy.json").read_text())["version"] == history[-1]["version"]


def test_an_acknowledged_violation_is_closed_with_who_and_why(stopped: Terminal) -> None:
    found = stopped.json("spc", "--run", "run", "--open", "--json")["violations"]
    one = found[-1]["violation_id"]
    assert "acknowledged before its next session" in stopped.ok(
        "ack", one, "--user", "ann", "--reason", "a shock", "--exclude", "--run", "run"
    )
    assert stopped.qt("ack", one, "--reason", "again", "--run", "run") == 1
    assert "it is acknowledged already" in stopped.complaint()
    stopped.ok("resume", "run", "--until-session", "352")
    assert "acknowledged by ann: a shock" in stopped.ok("spc", "show", "pred.log_range", "--run", "run")
    assert one not in stopped.ok("spc", "--open", "--run", "run")
    assert stopped.qt("ack", one, "--reason", "again", "--run", "run") == 1


def told_of_charts(terminal: Terminal) -> list[tuple[str, str]]:
    """Type and name of what was told of characteristics in the run, by its analytics."""
    with closing(sqlite3.connect(terminal.home / "run" / "analytics.sqlite")) as db:
        rows = db.execute("SELECT type, event FROM events WHERE type LIKE 'spc.%' ORDER BY number").fetchall()
    return [(kind, json.loads(event).get("name") or json.loads(event).get("chart", "")) for kind, event in rows]


def test_charts_are_added_edited_rebased_and_removed_in_a_run_and_never_in_the_configuration(stopped: Terminal) -> None:
    run = ("--run", "run")
    added = ("--type", "imr", "--baseline", "50", "--rules", "1,2", "--reason", "curious")
    assert "chart strategy.confidence is added before its next session" in stopped.ok(
        "spc", "add", "strategy.confidence", *added, *run
    )
    stopped.ok("resume", "run", "--until-session", "355")
    stopped.ok("spc", "edit", "pred.log_range", "--rules", "1", "--reason", "too loud", *run)
    stopped.ok("spc", "rebase", "pred.log_range", "--reason", "new regime", *run)
    stopped.ok("spc", "remove", "port.return", "--reason", "of no use", *run)
    stopped.ok("resume", "run", "--until-session", "360")
    told = told_of_charts(stopped)
    assert ("spc.characteristic_created", "strategy.confidence") in told
    assert told[-3:] == [
        ("spc.characteristic_updated", "pred.log_range"),
        ("spc.limits_updated", "pred.log_range"),
        ("spc.characteristic_deleted", "port.return"),
    ]
    charts = {one["chart"]: one for one in stopped.json("spc", *run, "--json")["charts"]}
    assert charts["strategy.confidence"]["points"] > 5
    assert stopped.qt("spc", "remove", "port.return", "--reason", "again", *run) == 1
    assert "port.return: there is no chart of that name" in stopped.complaint()
    assert not list(stopped.home.glob("config*"))
    digest = stopped.json("resume", "run", "--json")["digest"]
    for checkpoint in (stopped.home / "run").glob("checkpoint-*"):
        checkpoint.unlink()
    assert stopped.json("verify", "run", "--json")[2]["detail"].startswith(digest)


@pytest.mark.parametrize(
    ("command", "complaint"),
    [
        (("add", "port.return", "--type", "imr", "--baseline", "50", "--rules", "1"), "port.return: the name is taken"),
        (("add", "x", "--type", "imr", "--baseline", "50", "--rules", "9"), "x: "),
        (("add", "x", "--type", "imr", "--rules", "1"), "x: baseline is missing"),
        (("add", "x", "--type", "cusum", "--baseline", "50", "--rules", "1"), "x: "),
        (("edit", "x", "--rules", "1"), "x: there is no chart of that name in run; known are"),
        (("edit", "pred.log_range"), "pred.log_range: nothing to change; give --rules"),
        (("rebase", "x"), "x: there is no chart of that name in run; known are"),
    ],
)
def test_a_command_about_a_chart_that_cannot_be_done_is_refused_in_one_line(
    stopped: Terminal, command: tuple[str, ...], complaint: str
) -> None:
    assert stopped.qt("spc", *command, "--reason", "r", "--run", "run") in {1, 2}
    assert complaint in stopped.complaint()
    assert not (stopped.home / "run" / "commands").exists()


def test_an_unreadable_command_is_recorded_as_refused_and_the_run_goes_on(
    stopped: Terminal, caplog: pytest.LogCaptureFixture
) -> None:
    inbox = stopped.home / "run" / "commands"
    inbox.mkdir()
    (inbox / "1.json").write_text("garbage")
    (inbox / "2.json").write_text('{"type": "no.such", "event": {}}')
    stopped.ok("resume", "run", "--until-session", "352")
    assert sorted(file.name for file in inbox.iterdir()) == ["1.refused", "2.refused", "refused.jsonl"]
    assert "no command that a run takes" in caplog.text


def test_a_complete_run_takes_no_commands(terminal: Terminal) -> None:
    terminal.ok("replay", "--to", "2000-06-30", "--symbols", "IBM", "--output", "run", "--json")
    for command in (("kill", "halt", "--reason", "r"), ("policy", "set", "NORMAL", "--reason", "r")):
        assert terminal.qt(*command, "--run", "run") == 1
        assert "complete and takes no commands" in terminal.complaint()
    assert not (terminal.home / "run" / "commands").exists()


def test_strategies_models_and_charts_are_shown_with_their_history(stopped: Terminal) -> None:
    shown = stopped.json("strategies", "show", "trend-20-50", "--run", "run", "--json")
    assert [stage["stage"] for stage in shown[0]["stages"]] == ["BACKTEST", "LIVE"]
    assert "trend-20-50" in stopped.ok("strategies", "--run", "run")
    models = {one["id"]: one for one in stopped.json("models", "--run", "run", "--json")}
    assert {"average", "direction"} <= set(models)
    assert len(models["average"]["versions"][0]["sha256"]) == 64
    assert "version 1" in stopped.ok("models", "show", "average", "--run", "run")
    charts = {one["chart"]: one for one in stopped.json("spc", "--run", "run", "--json")["charts"]}
    assert charts["pred.log_range"]["points"] > 300
    assert "runtime.lag_ms" in charts
    assert Path(stopped.home / "run").is_dir()


def test_strategies_models_and_policies_are_told_with_dates(stopped: Terminal) -> None:
    for command in (
        ("strategies", "show", "momentum-126"),
        ("models", "show", "average"),
        ("policy", "history"),
    ):
        lines = stopped.ok(*command, "--run", "run").splitlines()
        told = [line for line in lines if "session" in line]
        assert told
        assert all(re.search(r"\b200[01]-\d\d-\d\d\b", line) for line in told if "session    -1" not in line), told
    assert all("  since 200" in line for line in stopped.ok("models", "--run", "run").splitlines())


def test_without_a_record_of_the_dates_sessions_are_told(stopped: Terminal) -> None:
    (stopped.home / "run" / "analytics.sqlite").write_bytes(b"no database")
    assert "session" in stopped.ok("strategies", "show", "momentum-126", "--run", "run")
    assert "session" in stopped.ok("policy", "history", "--run", "run")
