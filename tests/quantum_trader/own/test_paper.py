"""Live feeds: watched, put into sessions, journalled; and `qt paper`, which ends by Ctrl-C and goes on after a kill."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from quantum_trader.api import Bar
from quantum_trader.feeds.assembling import Assembler
from quantum_trader.feeds.paper import FeedBroken, PaperFeed
from quantum_trader.feeds.values import Garbage, read_json

if TYPE_CHECKING:
    from tests.quantum_trader.conftest import Terminal

Write = Callable[[str, str], Path]
QT = [sys.executable, "-c", "from quantum_trader.cli import main; main()"]
START = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)


def bar(symbol: str, minute: int, close: float = 100.0, **more: Any) -> Bar:
    return Bar(symbol, START + timedelta(minutes=minute), close, close + 1, close - 1, close, 1e6, **more)


def line(symbol: str, minute: int, close: float = 100.0, **more: Any) -> str:
    values = {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 1e6}
    return json.dumps({"symbol": symbol, "ts": (START + timedelta(minutes=minute)).isoformat(), **values, **more})


def kinds(assembled: Any) -> list[tuple[str, str]]:
    return [(doubt.kind.value, doubt.symbol) for doubt in assembled.doubts]


def test_a_session_closes_when_every_symbol_has_its_final_bar() -> None:
    watch = Assembler(["B", "A"], 60)
    watch.take(bar("B", 0), 0.0)
    watch.take(bar("A", 0, final=False), 0.1)
    assert watch.due(0.2) == []
    watch.take(bar("A", 0), 0.3)
    [closed] = watch.due(0.3)
    assert [one.symbol for one in closed.bars] == ["A", "B"]
    assert closed.doubts == ()


def test_it_closes_without_a_symbol_after_grace() -> None:
    watch = Assembler(["A", "B"], 60, grace=5.0)
    watch.take(bar("A", 0), 10.0)
    assert watch.deadline() == 15.0
    assert watch.due(14.9) == []
    [closed] = watch.due(15.0)
    assert [one.symbol for one in closed.bars] == ["A"]
    watch.take(bar("B", 0), 16.0)
    watch.take(bar("A", 1), 70.0)
    watch.take(bar("B", 1), 70.0)
    [after] = watch.due(70.0)
    assert ("OUT_OF_ORDER", "B") in kinds(after), "too late for its session, and no session of its own"


def test_repeats_reordering_gaps_and_strangers_are_told() -> None:
    watch = Assembler(["A"], 60)
    for item in (bar("A", 0), bar("A", 0), bar("X", 0), bar("A", 9)):
        watch.take(item, 0.0)
    first, second = watch.due(1.0)
    assert kinds(first) == [("DUPLICATE", "A"), ("GARBAGE", "")]
    assert kinds(second) == [("GAP", "")]


@pytest.mark.parametrize(
    "item",
    [
        Bar("A", START, float("nan"), 1, 1, 1, 1),
        Bar("A", START, 1, 1, 1, 1, "many"),  # type: ignore[arg-type]  # what a feed should not, and may, send
        Bar("A", START.replace(tzinfo=None), 1, 1, 1, 1, 1),
        Garbage("A", "noise"),
        read_json('{"symbol": "A", "open": 1}'),
        read_json(line("A", 0).replace("100.0", "1e999")),
    ],
)
def test_what_is_no_bar_is_garbage_of_its_symbol_and_nothing_of_it_is_kept(item: object) -> None:
    watch = Assembler(["A"], 60)
    watch.take(item, 0.0)
    watch.take(bar("A", 1), 0.0)
    [closed] = watch.due(0.0)
    assert kinds(closed) == [("GARBAGE", "A")]
    assert len(closed.bars) == 1


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '{"symbol": 7}', b"\xff\xfe", "[" * 100_000, '{"symbol": ""}'])
def test_no_text_is_too_strange_to_be_told_of(text: str | bytes) -> None:
    assert isinstance(read_json(text), Garbage)


def test_bars_that_make_no_sense_are_dropped() -> None:
    watch = Assembler(["A"], 60)
    watch.take(Bar("A", START, 10.0, 5.0, 1.0, 2.0, 1.0), 0.0)
    [closed] = watch.due(0.0)
    assert closed.bars == ()
    assert kinds(closed) == [("BAD_OHLC", "A")]


def test_silence_makes_one_empty_session_that_says_so() -> None:
    watch = Assembler(["A"], 60, grace=5.0)
    watch.take(bar("A", 0), 0.0)
    watch.due(0.0)
    deadline = watch.deadline()
    assert deadline == 185.0
    [silent] = watch.due(deadline)
    assert (silent.bars, ("SILENT", "A") in kinds(silent)) == ((), True)
    assert (watch.due(deadline + 1e6), watch.deadline()) == ([], None)
    watch.take(bar("A", 1), 1e6)
    assert [one.session for one in watch.due(1e6)] == [2]


async def test_a_feed_that_raises_ends_in_one_line() -> None:
    class Broken:
        symbols = ("A",)
        interval_s = 60

        async def __aiter__(self) -> AsyncIterator[Bar]:
            yield bar("A", 0)
            raise ConnectionError("no more")

    feed = PaperFeed(Broken(), "mine", started=START)
    coming = feed.coming()
    assert (await anext(coming)).session == 0
    said = "feed mine broke: ConnectionError: no more; mend it, then go on with qt resume"
    with pytest.raises(FeedBroken, match=said):
        await anext(coming)


def every_minute(count: int, *symbols: str, first: int = 0) -> str:
    return "".join(
        line(symbol, minute, 100.0 + 5 * ((minute // 7) % 2)) + "\n"
        for minute in range(first, count)
        for symbol in symbols
    )


def test_a_file_is_paper_traded_to_its_end_and_is_a_run_like_any_other(
    terminal: Terminal, write: Write, dip: str
) -> None:
    write("dip.py", dip)
    write("bars.ndjson", every_minute(60, "A", "B"))
    command = ("paper", "dip.py", "--feed", "file:bars.ndjson", "--set", "depth=0.01", "--output", "r")
    report = terminal.json(*command, "--json")
    assert (report["sessions"], report["bars"]) == (60, 120)
    assert report["fills"] > 4
    assert report["periods_per_year"] == 252 * 390
    terminal.ok("verify", "r")


def test_garbage_pauses_its_symbol_and_nothing_is_bought_on_it(terminal: Terminal, write: Write) -> None:
    write(
        "always.py",
        "from quantum_trader.api import Strategy, Target\n\n\nclass Always(Strategy):\n"
        "    def on_bar(self, bars, ctx):\n        return Target(weight=0.3) if ctx.session >= 6 else None\n",
    )
    noise = '{"symbol": "A", "ts": "never", "open": 1, "high": 1, "low": 1, "close": 1, "volume": 1}\nnot even json {\n'
    write("bars.ndjson", every_minute(6, "A", "B") + noise + every_minute(20, "A", "B", first=6))
    # A line that does not begin a JSON object is a head, or a row of one: all of it is garbage here.
    report = terminal.json("paper", "always.py", "--feed", "file:bars.ndjson", "--json", "--output", "r")
    bought = terminal.ok("export", "r", "--trades", "t.csv") and Path("t.csv").read_text().splitlines()[1:]
    first = {row.split(",")[3]: int(row.split(",")[1]) for row in reversed(bought)}
    assert first["B"] == 7, "decided in 6, filled in 7"
    assert first["A"] == 10, "paused for three sessions after the garbage of 6"
    assert report["denials"] == {"SYMBOL_NOT_ALLOWED": 3}
    assert "GARBAGE" in terminal.ok("events", "r", "--type", "feed.anomaly")


GROWING = {"QT_APP__CHECKPOINT_EVERY": "10"}


def started(output: str, *more: str) -> subprocess.Popen[str]:
    command = ["paper", "dip.py", "--set", "depth=0.01", "--output", output, "--json", *more]
    return subprocess.Popen(
        [*QT, *command], env={**os.environ, **GROWING}, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def heard(terminal: Terminal, run: str, sessions: int, process: subprocess.Popen[str]) -> None:
    """Wait until a run has decided so many sessions."""
    while True:
        if process.poll() is not None:
            raise AssertionError(process.communicate())
        is_there = Path(run, "run.db").exists()
        if is_there and terminal.qt("events", run, "--type", "session.decide", "--json") == 0:
            told = len(terminal.out.splitlines())
            if told >= sessions:
                return
        time.sleep(0.05)


def test_a_growing_file_is_traded_until_ctrl_c_and_goes_on_after_a_kill(
    terminal: Terminal, write: Write, dip: str
) -> None:
    write("dip.py", dip)
    source = ("--feed", "tail:live.ndjson", "--symbols", "A,B", "--interval", "60")
    write("live.ndjson", every_minute(33, "A", "B"))
    killed = started("killed", *source)
    heard(terminal, "killed", 33, killed)
    killed.kill()
    killed.communicate()
    with Path("live.ndjson").open("a") as file:
        file.write(every_minute(60, "A", "B", first=33))
    resumed = subprocess.Popen(
        [*QT, "resume", "killed", "--json"],
        env={**os.environ, **GROWING},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    heard(terminal, "killed", 60, resumed)
    resumed.send_signal(signal.SIGINT)
    out, err = resumed.communicate(timeout=120)
    assert resumed.returncode == 0, err
    report = json.loads(out)
    assert report["sessions"] == 60
    assert report["fills"] > 4
    assert report["dropped"] == {}, "what was told already is not told of again"
    terminal.ok("verify", "killed")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--feed", "file:nowhere.csv"), "nowhere.csv: cannot be read"),
        (("--feed", "file:bars.ndjson@fast"), "'fast' is no speed; write file:PATH@10"),
        (("--feed", "tail:bars.ndjson"), "does not say which symbols it has; name them with --symbols A,B"),
        (("--feed", "tail:nowhere.csv", "--symbols", "A"), "no such file; check the path, or make it first"),
        (("--feed", "no_such:connect"), "install no_such, or correct the import"),
        (("--feed", "dip.py:Bars"), "let it give a feed with symbols and interval_s"),
    ],
)
def test_a_feed_that_cannot_be_used_is_one_line(
    terminal: Terminal, write: Write, dip: str, arguments: tuple[str, ...], said: str
) -> None:
    write("dip.py", dip)
    write("bars.ndjson", every_minute(3, "A"))
    assert said in terminal.complaint("paper", "dip.py", *arguments, "--output", "r")
    assert not Path("r").exists()


def test_a_websocket_feed_without_its_extra_is_one_line(
    terminal: Terminal, write: Write, dip: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    write("dip.py", dip)
    monkeypatch.setattr("quantum_trader.feeds.shipped.find_spec", lambda name: None)
    feed = ("--feed", "ws://127.0.0.1:1/x", "--symbols", "A")
    assert "pip install 'quantum-trader[gateway]'" in terminal.complaint("paper", "dip.py", *feed, "--output", "r")
    assert not Path("r").exists()


async def test_a_websocket_that_is_cut_is_opened_again() -> None:
    from websockets.asyncio.server import ServerConnection, serve

    from quantum_trader.feeds.shipped import WebSocketFeed

    turns = iter(range(100))

    async def handler(socket: ServerConnection) -> None:
        turn = next(turns)
        await socket.send(line("A", turn))
        await socket.send("garbage")
        socket.transport.abort()

    async with serve(handler, "127.0.0.1", 0) as server:
        port = next(iter(server.sockets)).getsockname()[1]
        feed = WebSocketFeed(f"ws://127.0.0.1:{port}/bars", ["A"], 60, wait_s=0.01)
        found: list[object] = []
        async with asyncio.timeout(120):
            async for item in feed:
                found.append(item)
                if sum(isinstance(one, Bar) for one in found) == 3:
                    break
    assert {one.ts for one in found if isinstance(one, Bar)} <= {START + timedelta(minutes=n) for n in range(100)}
