"""SIGKILL of a running `qt replay`: after `qt resume` it has decided, traded and earned what it would have without."""

from __future__ import annotations

import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from eventbus.codec import decode
from eventbus.journal.sqlite import SqliteReader
from quantum_trader.events import is_decision
from quantum_trader.monitoring.analytics import load_record

VICTIM = Path(__file__).with_name("run_victim.py")
CONFIG = {
    "app.toml": "checkpoint_every = 25\n",
    "strategies.toml": "all_live = true\n",
    "universe.toml": 'symbols = ["AAPL", "IBM"]\nend = "2001-05-31"\n',  # with the crash of AAPL on 2000-09-29
}
EVENTS = 5_000  # decision events of it, a little less than there are
PASSES = {"filled": 9, "drafted": 2, "renamed": 3, "writing": 4, "committing": 4, "committed": 4, "marked": 4}
OFTEN = {"filled", "drafted", "committed"}
POINTS = [pytest.param(each, marks=pytest.mark.long if each in OFTEN else pytest.mark.torture) for each in PASSES]


def qt(home: Path, *arguments: str) -> dict[str, Any]:
    """What a command that prints JSON printed."""
    command = [sys.executable, str(VICTIM), "never", "0", *arguments, "--config", "config", "--json"]
    ended = subprocess.run(command, cwd=home, capture_output=True, text=True, check=False)
    assert ended.returncode == 0, ended.stderr
    found: dict[str, Any] = json.loads(ended.stdout)
    return found


def kill(home: Path, point: str, passes: int, *arguments: str) -> bool:
    """Run a command until it dies of its point, or `anywhere` after so many milliseconds; whether it did."""
    command = [sys.executable, str(VICTIM), point, str(passes), *arguments, "--config", "config"]
    with subprocess.Popen(command, cwd=home, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE) as victim:
        try:
            _, complaint = victim.communicate(timeout=passes / 1e3 if point == "anywhere" else None)
        except subprocess.TimeoutExpired:
            victim.kill()
            complaint = b""
    assert victim.returncode in (-signal.SIGKILL, 0), complaint.decode()
    return victim.returncode != 0


def outcome(home: Path, name: str) -> dict[str, Any]:
    """Everything that must not differ: digest, trades, equity, and the ids of what was decided, each once."""
    record, completed = load_record(home / name)
    ids = []
    with SqliteReader(home / name / "run.db") as reader:
        reader.verify()
        at = 0
        while page := reader.read(at, 1_000):
            ids += [record.event_id for record in page if is_decision(decode(record.body))]
            at = page[-1].offset
    assert len(set(ids)) == len(ids)
    return {
        "digest": completed.digest,
        "events": completed.det_events,
        "trades": record.trades,
        "equity": list(record.points),
        "ids": ids,
    }


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with a configuration and an uninterrupted run of it."""
    home = tmp_path_factory.mktemp("home")
    (home / "config").mkdir()
    for name, text in CONFIG.items():
        (home / "config" / name).write_text(text)
    qt(home, "replay", "--output", "whole")
    return home


def same_in_the_end(home: Path, name: str) -> None:
    """Continue the run in this folder and hold it against the one that nobody killed."""
    if (home / name / "config.json").exists():
        qt(home, "resume", name)
    else:
        qt(home, "replay", "--output", name)  # it died before it was a run
    whole, found = outcome(home, "whole"), outcome(home, name)
    assert whole["events"] > EVENTS
    assert len(whole["trades"]) > 10
    for what, expected in whole.items():
        assert found[what] == expected, what


@pytest.mark.parametrize("point", POINTS)
def test_a_run_killed_at_a_named_point_ends_as_if_nothing_had_happened(home: Path, point: str) -> None:
    assert kill(home, point, PASSES[point], "replay", "--output", point)
    same_in_the_end(home, point)


@pytest.mark.long
def test_a_run_that_is_interrupted_ends_its_session_and_says_how_to_go_on(home: Path) -> None:
    command = [sys.executable, str(VICTIM), "interrupted", "2500", "replay", "--output", "interrupted"]
    ended = subprocess.run([*command, "--config", "config"], cwd=home, capture_output=True, text=True, check=False)
    assert ended.returncode == 130
    assert "sessions; continue with: qt resume interrupted" in ended.stderr
    assert len(ended.stderr.splitlines()) == 1
    same_in_the_end(home, "interrupted")


@pytest.mark.long
def test_a_run_killed_again_and_again_ends_as_if_nothing_had_happened(home: Path) -> None:
    dice = random.Random(11)
    assert kill(home, "decided", dice.randrange(EVENTS), "replay", "--output", "often")
    for _ in range(2):
        kill(home, "decided", dice.randrange(EVENTS // 2), "resume", "often")
    same_in_the_end(home, "often")


@pytest.mark.torture
def test_a_run_killed_at_fifty_random_moments_ends_as_if_nothing_had_happened(home: Path) -> None:
    dice = random.Random(50)
    for number in range(50):
        name = f"run-{number}"
        if number % 2:
            kill(home, "anywhere", dice.randrange(1_000, 5_000), "replay", "--output", name)
        else:
            kill(home, "decided", dice.randrange(EVENTS), "replay", "--output", name)
        same_in_the_end(home, name)
