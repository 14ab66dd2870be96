"""A strategy that cannot work is one line with file, line and remedy; one that fails in a run ends as an episode, sold out."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from eventbus.cli import main as bus_main

if TYPE_CHECKING:
    from tests.quantum_trader.conftest import Terminal

YEAR = ("--to", "2000-09-30", "--symbols", "AAPL,IBM")

Write = Callable[[str, str], Path]

HEAD = "from quantum_trader.api import Strategy, Target\n"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "import numpyy\n",
            "s.py:1: ModuleNotFoundError: No module named 'numpyy'; install numpyy, or correct the import",
        ),
        ("def f(:\n    pass\n", "s.py:1: SyntaxError: invalid syntax"),
        ("x = 1\ny = 1 / 0\n", "s.py:2: ZeroDivisionError: division by zero; let s.py be imported without an error"),
        ("import sys\nsys.exit(3)\n", "s.py:2: SystemExit: 3; let it be imported without ending the program"),
        ("x = 1\n", "needs one subclass of Strategy, has none; define one"),
        (HEAD + "class A(Strategy):\n    def on_bar(self, b, c): ...\nclass B(A): ...\n", "name it, as s.py:A"),
        (HEAD + "\nclass A(Strategy):\n    x: int = 1\n", "s.py:3: A decides nothing; define on_bar or on_session"),
        (
            HEAD + "class A(Strategy):\n    x: int = 'q'\n    def on_bar(self, b, c): ...\n",
            "A.x: Input should be a valid",
        ),
        (HEAD + "class A(Strategy):\n    x: int\n    def on_bar(self, b, c): ...\n", "give one with --set x=..."),
    ],
)
def test_what_cannot_be_loaded_is_one_line_and_no_run(terminal: Terminal, write: Write, text: str, said: str) -> None:
    write("s.py", text)
    assert said in terminal.complaint("run", "s.py", *YEAR, "--output", "r")
    assert not Path("r").exists()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("nowhere.py",), "nowhere.py: no such file; check the path"),
        (("dip.py:Dap",), "there is no Dap; known are"),
        (("no_such_module:X",), "install no_such_module, or correct the import"),
        (("dip",), "names no code; give a file (dip.py) or module:Class"),
        (("dip.py", "--set", "depht=1"), "Dip has no parameter depht; known are window, depth"),
        (("dip.py", "--set", "window=ten"), "window: Input should be a valid integer"),
        (("dip.py", "--set", "window"), "'window' sets nothing; write name=value"),
        (("dip.py", "--policy", "bold"), "'bold' is unknown; give open or auto"),
        (("dip.py", "--check", "beta"), "no entry point of quantum_trader.checks has that name"),
        (("dip.py", "--with", "dip.py:missing"), "there is no missing"),
        (("dip.py", "--limits", "nowhere.toml"), "nowhere.toml: cannot be read"),
    ],
)
def test_what_is_asked_wrongly_is_one_line(
    dip: str, terminal: Terminal, write: Write, arguments: tuple[str, ...], said: str
) -> None:
    write("dip.py", dip)
    assert said in terminal.complaint("run", *arguments, *YEAR)


BUY_THEN = (
    HEAD
    + """

class Bad(Strategy):
    def on_bar(self, bars, ctx):
        if ctx.session < 20:
            return Target(weight=0.3) if len(bars) == 5 else None
        {what}
"""
)


@pytest.mark.parametrize(
    ("what", "error", "remedy"),
    [
        ("return 1 / 0", "ZeroDivisionError: division by zero", "correct the code and start the run anew"),
        ("return Target(weight=float('nan'))", "weight is nan", "return None until there is a number"),
        ("return Target(weight=2)", "weight 2 is beyond all of the equity", "give a fraction"),
        ("return Target(weight='much')", "weight 'much' is no number", "give one"),
        ("return Target(weight=0.1, stop=float('inf'))", "stop is inf", "check for it"),
        ("return 0.3", "returned float 0.3", "return Target(weight=...) or None"),
        ("bars.close[-1] = 1.0", "ValueError: assignment destination is read-only", "correct the code"),
    ],
)
def test_a_strategy_that_fails_in_a_run_is_stopped_and_sold_out(
    terminal: Terminal, write: Write, what: str, error: str, remedy: str
) -> None:
    write("bad.py", BUY_THEN.format(what=what))
    report = terminal.json("run", "bad.py", "--symbols", "IBM", "--to", "2000-05-31", "--json", "--output", "r")
    [episode] = report["failures"]
    assert episode["place"].startswith("bad.py")
    assert error in episode["error"]
    assert remedy in episode["remedy"]
    assert episode["symbol"] == "IBM"
    assert report["fills"] == 2, "bought before, sold when it failed, and nothing since"
    assert "STRATEGY_FAILED" in terminal.ok("report", "r")
    letters = terminal.ok("events", "r", "--type", "strategy.failed")
    assert "bad.py" in letters


def test_a_target_for_an_unknown_symbol_is_refused_whole(terminal: Terminal, write: Write) -> None:
    write(
        "s.py",
        HEAD + "\nclass S(Strategy):\n    def on_session(self, market, ctx):\n"
        "        return {'IBM': Target(weight=0.2), 'IMB': Target(weight=0.2)}\n",
    )
    report = terminal.json("run", "s.py", "--symbols", "IBM", "--to", "2000-05-31", "--json", "--output", "r")
    assert "a target for unknown symbol 'IMB'" in report["failures"][0]["error"]
    assert report["failures"][0]["remedy"] == "known are IBM"
    assert report["fills"] == 0


def test_a_failure_leaves_a_dead_letter_of_the_users_subscription(terminal: Terminal, write: Write) -> None:
    write("bad.py", BUY_THEN.format(what="return 1 / 0"))
    terminal.ok("run", "bad.py", "--symbols", "IBM", "--to", "2000-05-31", "--json", "--output", "r")
    with pytest.raises(SystemExit):
        bus_main(["dead-letters", "list", "r/run.db"])
    assert "strategy.bad" in terminal.printed()


def test_a_short_is_denied_by_a_check_that_says_so(terminal: Terminal, write: Write) -> None:
    write("s.py", HEAD + "\nclass S(Strategy):\n    def on_bar(self, bars, ctx):\n        return Target(weight=-0.2)\n")
    report = terminal.json("run", "s.py", "--symbols", "IBM", "--to", "2000-03-31", "--json", "--output", "r")
    assert report["denials"] == {"SHORT": report["funnel"]["sized"]}
    assert report["fills"] == 0
