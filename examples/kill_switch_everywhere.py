"""One kill switch for all processes: set in one it holds in every other, and whoever has its token clears it.

Who cannot see the switch for as long as a lease refuses to trade, too. Over a private PostgreSQL server, offline.
"""

from __future__ import annotations

import asyncio
import sys
from asyncio.subprocess import PIPE, Process

from eventbus import Event, Halted, Kind, create_event_bus
from eventbus.testing.servers import PostgresServer


class TradeExecutedEvent(Event, type="trade.executed", kind=Kind.EXECUTION, key="symbol"):
    """A fill."""

    symbol: str


async def trade(url: str) -> None:
    """A child: with each line that it reads it tries to trade, and says what came of it."""
    async with create_event_bus(url, lease=30.0) as bus:
        print("ready", flush=True)
        while await asyncio.to_thread(sys.stdin.readline):
            try:
                await bus.publish(TradeExecutedEvent(symbol="AAPL"))
            except Halted as refused:
                print("refused:", refused.reason, flush=True)
            else:
                print("traded", flush=True)


async def child(url: str) -> Process:
    """Start one."""
    process = await asyncio.create_subprocess_exec(sys.executable, __file__, url, stdin=PIPE, stdout=PIPE)
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    return process


async def tries(process: Process) -> str:
    """What a child says when it tries to trade."""
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write(b"\n")
    return (await process.stdout.readline()).decode().strip()


async def main(url: str) -> None:
    """Halt here, and see it there; kill nobody."""
    traders = [await child(url) for _ in range(2)]
    assert [await tries(trader) for trader in traders] == ["traded", "traded"]
    async with create_event_bus(url, lease=30.0) as bus:
        token = bus.halt("drawdown of 12 %")
        seen = await bus.halted_everywhere(timeout=60)
        print(f"halted, and seen by {len(seen)} processes: {', '.join(seen)}")
        assert [*seen.values()] == [True] * 3
        answers = [await tries(trader) for trader in traders]
        print(f"two other processes: {answers}")
        assert answers == ["refused: drawdown of 12 %"] * 2

        await bus.rearm(token)
        await bus.halted_everywhere(timeout=60)  # that it is over is seen by everybody, too
        answers = [await tries(trader) for trader in traders]
        print(f"after the rearm: {answers}")
        assert answers == ["traded", "traded"]
    for trader in traders:
        assert trader.stdin is not None
        trader.stdin.close()
        await trader.wait()


if __name__ == "__main__":
    if len(sys.argv) == 2:
        asyncio.run(trade(sys.argv[1]))
    else:
        with PostgresServer() as server:
            asyncio.run(main(server.url))
