"""The commands that look into a journal and steer who is on it, against a server, beside running processes."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from io import StringIO
from typing import Any

import pytest

from eventbus import Event, Halted, InMemoryEventBus, Kind, create_event_bus
from eventbus.cli import run
from eventbus.testing.shared_contract.opened import until
from tests.backends import Backend

pytestmark = pytest.mark.server


class OrderSent(Event, type="order.sent", kind=Kind.EXECUTION):
    """An order went out."""


Answer = tuple[int, list[dict[str, Any]], str]


async def in_a_process(*arguments: str) -> Answer:
    """Run `eventbus` in a process of its own: its exit code, what it printed, what it complained of."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-c", "from eventbus.cli import main; main()", *arguments, "--json"),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    out, complaint = await process.communicate()
    assert process.pid != os.getpid()
    return process.returncode or 0, [json.loads(line) for line in out.splitlines()], complaint.decode()


async def in_a_thread(*arguments: str) -> Answer:
    """Run `eventbus` on a loop and over connections of its own, without the half second that a process takes to begin."""
    with redirect_stdout(StringIO()) as out, redirect_stderr(StringIO()) as complaint:
        code = await asyncio.to_thread(run, [*arguments, "--json"])
    return code, [json.loads(line) for line in out.getvalue().splitlines()], complaint.getvalue()


async def test_commands_look_and_steer_beside_a_running_bus(bus_url: str, backend: Backend) -> None:
    command = in_a_process if backend.name == "postgres" else in_a_thread
    handled: list[int] = []

    async def handle(event: Event) -> None:
        if event["n"] == 2 and handled.count(2) == 0:
            handled.append(2)
            raise ValueError("no such symbol")
        handled.append(event["n"])

    bus = create_event_bus(f"{bus_url}&lease=60")
    assert isinstance(bus, InMemoryEventBus)
    async with bus:
        await bus.subscribe("bar.*", handle, group="ledger")
        for n in range(4):
            await bus.publish("bar.closed", {"n": n})
        await bus.drain()

        _, events, _ = await command("events", bus_url)
        assert [event["payload"] for event in events] == [{"n": n} for n in range(4)]
        _, tail, _ = await command("tail", bus_url, "-n", "1")
        assert tail[0]["payload"] == {"n": 3}
        _, (sound,), _ = await command("verify", bus_url)
        assert (sound["sound"], sound["records"]) == (True, 4)
        _, (ledger,), _ = await command("groups", bus_url)
        assert (ledger["group"], ledger["part"], ledger["floor"]) == ("ledger", 0, 4)
        assert ledger["totals"] == {"succeeded": 3, "dead_lettered": 1}

        _, (letter,), _ = await command("dead-letters", "list", bus_url)
        assert letter["subscription"] == "ledger"
        _, (asked,), _ = await command("dead-letters", "redrive", bus_url, str(letter["id"]))
        assert asked == {"asked": 1}

        async def is_redriven() -> bool:
            return handled.count(2) == 2

        await until(is_redriven)

        _, (halted,), _ = await command("halt", bus_url, "--reason", "drawdown")
        assert halted["new"]

        async def is_halted() -> bool:
            return bus.is_halted

        await until(is_halted)
        with pytest.raises(Halted, match="drawdown"):
            await bus.publish(OrderSent())
        _, (again,), _ = await command("halt", bus_url, "--reason", "another")
        assert (again["reason"], again["new"]) == ("drawdown", False)

        code, _, complaint = await command("rearm", bus_url, "--token", "wrong")
        assert (code, bus.is_halted) == (2, True)
        assert "token" in complaint
        _, (was,), _ = await command("rearm", bus_url, "--token", halted["token"])
        assert was == {"was": "drawdown"}

        async def is_rearmed() -> bool:
            return not bus.is_halted

        await until(is_rearmed)
        await bus.publish(OrderSent())
        code, _, complaint = await command("rearm", bus_url, "--force", "--reason", "by hand")
        assert (code, complaint) == (1, "eventbus: nothing is halted\n")


def test_a_file_is_steered_while_no_bus_has_it(tmp_path: Any) -> None:
    url = f"sqlite:///{tmp_path}/run.db"

    async def publish() -> str | None:
        async with create_event_bus(url) as bus:
            try:
                await bus.publish(OrderSent())
            except Halted as halted:
                return halted.reason
        return None

    assert asyncio.run(publish()) is None
    _, (halted,), _ = asyncio.run(in_a_process("halt", url, "--reason", "maintenance"))
    assert asyncio.run(publish()) == "maintenance"
    code, _, complaint = asyncio.run(in_a_process("rearm", url))
    assert (code, "--token" in complaint) == (2, True)
    asyncio.run(in_a_process("rearm", url, "--force", "--reason", "done"))
    assert asyncio.run(publish()) is None
    assert halted["new"]
