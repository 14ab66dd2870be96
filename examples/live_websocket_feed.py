"""A strategy on a live WebSocket feed that is cut, repeats itself, reorders and talks nonsense: paper-traded all the same."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path

from websockets.asyncio.server import ServerConnection, serve

from eventbus import Event, open_reader
from quantum_trader.api import Bars, Context, Strategy, Target, load_run

START = datetime(2026, 1, 5, 14, 30, tzinfo=UTC)
MINUTES = 60


class Swing(Strategy):
    """Buys below the mean of what it has seen, leaves above."""

    def on_bar(self, bars: Bars, ctx: Context) -> Target | None:
        if len(bars) < 5:
            return None
        return Target(weight=0.4 if bars.close[-1] < bars.close[-10:].mean() else 0.0)


def message(symbol: str, minute: int) -> str:
    close = 100.0 + 3 * (minute // 7 % 2)
    prices = {"open": close, "high": close + 1, "low": close - 1, "close": close, "volume": 1e6}
    return json.dumps({"symbol": symbol, "ts": (START + timedelta(minutes=minute)).isoformat(), **prices})


class Market:
    """Serves a minute after the other to whoever is connected; after some of them it misbehaves."""

    def __init__(self) -> None:
        self.minute = 0
        self.cuts = 0
        self.is_over = asyncio.Event()

    async def handle(self, socket: ServerConnection) -> None:
        while self.minute < MINUTES:
            minute, self.minute = self.minute, self.minute + 1
            symbols = ["BBB", "AAA"] if minute % 5 == 0 else ["AAA", "BBB"]  # reordered
            for symbol in symbols:
                await socket.send(message(symbol, minute))
            if minute == 20:
                await socket.send(message("AAA", 18))  # repeated, and too late
            if minute == 30:
                await socket.send('{"symbol": "BBB", "ts": "soon", "open": "?"}')
            if minute in {12, 40}:
                self.cuts += 1
                socket.transport.abort()  # the connection is gone, without a word
                return
            await asyncio.sleep(0.005)
        self.is_over.set()
        await socket.wait_closed()  # silent


async def decided(journal: Path, minute: datetime) -> None:
    """Wait until the run has journalled its decision on a minute: another process writes it, and nothing tells when."""
    async with asyncio.timeout(60):
        with open_reader(journal) as reader:
            after = 0
            while True:
                for record in reader.read(after, 1_000, ["session.decide"], reader.last()):
                    after = record.offset
                    if Event.from_json(record.body).timestamp == minute:
                        return
                await asyncio.sleep(0.02)


async def main() -> None:
    market = Market()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "run"
        async with serve(market.handle, "127.0.0.1", 0) as server:
            port = next(iter(server.sockets)).getsockname()[1]
            command = ["paper", __file__, "--feed", f"ws://127.0.0.1:{port}/bars", "--symbols", "AAA,BBB"]
            command += ["--interval", "60", "--output", str(folder)]
            qt = [sys.executable, "-c", "from quantum_trader.cli import main; main()"]
            process = await asyncio.create_subprocess_exec(*qt, *command)
            await market.is_over.wait()
            await decided(folder / "run.db", START + timedelta(minutes=MINUTES - 1))
            process.send_signal(signal.SIGINT)  # Ctrl-C: the report is written, and all is well
            assert await process.wait() == 0
            server.close()
        run = load_run(folder, frames="polars")
        told = run.decisions.filter(run.decisions["type"] == "feed.anomaly")["payload"].to_list()
        kinds = sorted(json.loads(text)["kind"] for text in told)
        print(f"{run.equity.height} sessions, {run.trades.height} fills, {market.cuts} cuts, anomalies {kinds}")
        assert market.cuts == 2
        assert {"GARBAGE", "OUT_OF_ORDER"} <= set(kinds)
        assert run.trades.height > 4


if __name__ == "__main__":
    asyncio.run(main())
