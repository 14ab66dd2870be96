"""Interface: what a type checker says to users. Each program is one that a user would write, right or wrong."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest

api = pytest.importorskip("mypy.api")

RIGHT = """
@bus.on(Fill, where=lambda fill: fill.size > 1, timeout=2.0, retry=Retry(on=[OSError]), overflow="drop_oldest", queue_size=5)
async def on_fill(fill: Fill) -> None: ...

@bus.on(Fill, key="symbol", concurrency=4, name="ledger", isolation="task", group="ledger", start="beginning")
def on_any(event: Event, delivery: Delivery) -> int:
    return delivery.attempt

@bus.on("trade.*", replay_last=True)
async def on_trade(fill: Fill) -> None: ...

class Ledger:
    async def on_fill(self, fill: Fill) -> None: ...

async def program() -> None:
    bus.subscribe(Fill, Ledger().on_fill, max_age=5)
    await bus.publish(Fill(size=1), cause=Fill(size=2))
    await bus.publish("desk.opened", {"desk": 3})
    seen: Fill = await bus.expect(Fill, where=lambda fill: fill.size > 1, timeout=1)
    kept: Fill | None = bus.last(Fill)
    agreed: bool = await bus.request(Ask(size=1), timeout=1)
    async with bus.stream(Fill) as fills:
        async for fill in fills:
            seen = fill
    stats: int = bus.get_stats()["published"]
    attempts: int = bus.run_time()[0]
    letters = await bus.dead_letters.list()
    print((await bus.explain(seen.event_id)).root, kept, agreed, stats, attempts, letters)
    bus.tap(lambda events, offset: print(len(events), offset)).cancel()
    await bus.rearm(bus.halt("drill"))
"""

WRONG = {
    "misspelt policy": ("bus.on(Fill, retyr=3)", 'Unexpected keyword argument "retyr"'),
    "policy of a wrong type": ('bus.on(Fill, timeout="2")', 'No overload variant of "on"'),
    "retry is a number": ("bus.subscribe(Fill, print, retry=3)", 'No overload variant of "subscribe"'),
    "handler of another class": ("bus.subscribe(Fill, on_ask)", "subscribe"),
    "decorated handler of another class": ("bus.on(Fill)(on_ask)", "Callable[[Fill]"),
    "stream of another class": ("s: Stream[Ask] = bus.stream(Fill)", 'expected "type[Ask]"'),
    "retained event of another class": ("x: Ask | None = bus.last(Fill)", "Incompatible types in assignment"),
    "an answer of another type": ("async def f() -> str:\n    return await bus.request(Ask(size=1))", 'expected "str"'),
    "an answer that nobody promised": ('async def f() -> str:\n    return await bus.request("a.b")', 'got "object"'),
    "expected event of another class": (
        "async def f() -> Ask:\n    return await bus.expect(Fill)",
        'expected "type[Ask]"',
    ),
    "unknown statistic": ('bus.get_stats()["publishd"]', 'has no key "publishd"'),
}

HEAD = """
from eventbus import *
from eventbus.interface import EventBus

class Fill(Event, type="typed.fill"):
    size: int

class Ask(Request[bool], type="typed.ask"):
    size: int

async def on_ask(ask: Ask) -> bool:
    return True

bus: EventBus
"""


@pytest.fixture(scope="module")
def answers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What mypy says to each program; asked once for all of them."""
    folder, root = tmp_path_factory.mktemp("programs"), Path(__file__).parents[2]
    programs = {"right": RIGHT, **{re.sub(r"\W", "_", title): program for title, (program, _) in WRONG.items()}}
    for name, program in programs.items():
        (folder / f"typed_{name}.py").write_text(HEAD + program)
    before, os.environ["MYPYPATH"] = os.environ.get("MYPYPATH"), str(root)
    try:
        files = [str(file) for file in sorted(folder.glob("*.py"))]
        said, broken, _ = api.run(["--strict", "--config-file", str(root / "pyproject.toml"), *files])
    finally:
        del os.environ["MYPYPATH"]
        if before is not None:
            os.environ["MYPYPATH"] = before
    assert broken == ""
    return {name: "\n".join(line for line in said.splitlines() if f"typed_{name}.py" in line) for name in programs}


@pytest.mark.long
def test_a_right_program_passes(answers: dict[str, str]) -> None:
    assert answers["right"] == ""


@pytest.mark.long
@pytest.mark.parametrize("title", WRONG)
def test_a_wrong_program_is_told(answers: dict[str, str], title: str) -> None:
    assert WRONG[title][1] in answers[re.sub(r"\W", "_", title)]
