"""Every example runs offline, ends well and is short; what it claims, it asserts itself."""

from __future__ import annotations

import os
import subprocess
import sys
from itertools import pairwise
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.py"))
# The million takes its time; a test wants to know that it works.
ARGUMENTS = {"high_volume": ["2000"]}
LONG = {  # whole runs or processes, several of them
    *("explain_a_trade", "kill_switch_everywhere", "live_websocket_feed", "own_check", "shared_group", "takeover"),
    *("crash_and_resume", "cross_section_momentum", "evaluation_service", "mean_reversion", "model_challenge"),
    *("null_market", "oracle_check", "own_component", "policy_propagates", "replay_determinism"),
    *("state_survives_a_kill", "strategy_lifecycle", "sweep_with_heat_map"),
}


@pytest.mark.parametrize(
    "example",
    [pytest.param(path, id=path.stem, marks=[pytest.mark.long] if path.stem in LONG else []) for path in EXAMPLES],
)
def test_example_keeps_its_word(example: Path, tmp_path: Path) -> None:
    ended = subprocess.run(
        [sys.executable, "-W", "error", str(example), *ARGUMENTS.get(example.stem, [])],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.strip()
    # A handler may fail to show something, and the bus tells where; any other traceback is a fault of ours.
    lines = ["", *ended.stderr.splitlines()]
    told = [before for before, line in pairwise(lines) if line.startswith("Traceback")]
    assert all(before.startswith("delivery dead-lettered: ") for before in told), ended.stderr


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_short_and_says_what_it_shows(example: Path) -> None:
    text = example.read_text()
    assert text.count("\n") < 200
    assert text.startswith('"""')
    assert "assert " in text


def test_there_are_examples() -> None:
    assert {"hello_bus", "policy_propagates", "health_alert_to_discord", "high_volume", "dependency_injection"} <= {
        path.stem for path in EXAMPLES
    }
