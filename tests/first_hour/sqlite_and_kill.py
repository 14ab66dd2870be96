"""The same over SQLite, with kill -9 in the middle: nothing that was acknowledged is forgotten, the fault outlives the process."""

import asyncio
import os
import signal
import subprocess
import sys

from eventbus import Event, Retry, create_event_bus

COUNT = 200


async def work() -> None:
    """The program: books what is there, publishes what is not. It kills itself half-way, once."""
    bus = create_event_bus("sqlite:///bank.db")
    done = open("done.txt", "a", buffering=1)  # noqa: SIM115 - a line at a time
    is_first = not os.path.exists("killed")

    @bus.on("payment.due", name="bank", group="bank", retry=Retry(attempts=2, delay=0.01))
    async def pay(event: Event) -> None:
        if event["number"] == COUNT // 2 and is_first:
            open("killed", "w").close()
            os.kill(os.getpid(), signal.SIGKILL)
        if event["number"] == 7 and not os.path.exists("mended"):
            raise ValueError("no such account")
        print(event["number"], file=done)

    async with bus:
        if is_first:
            for number in range(COUNT):
                receipt = await bus.publish("payment.due", {"number": number})
                assert receipt.durability == "power_loss"
                print(number, flush=True)  # acknowledged
        await bus.drain()


def said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def booked() -> list[int]:
    with open("done.txt") as file:
        return sorted({int(line) for line in file})


def main() -> None:
    first = subprocess.run([sys.executable, __file__, "work"], stdout=subprocess.PIPE, text=True, check=False)
    assert first.returncode == -signal.SIGKILL
    acknowledged = [int(line) for line in first.stdout.split()]
    assert len(acknowledged) >= COUNT // 2
    assert "sound" in said("eventbus", "verify", "bank.db")

    said(sys.executable, __file__, "work")  # the next process goes on where the dead one was
    assert {*acknowledged} - {7} <= {*booked()}

    told = said("eventbus", "dead-letters", "list", "bank.db")
    assert "no such account" in told, told
    open("mended", "w").close()
    said("eventbus", "dead-letters", "redrive", "bank.db", "--all")
    said(sys.executable, __file__, "work")
    assert 7 in booked()
    assert "no dead letters" in said("eventbus", "dead-letters", "list", "bank.db")
    print(f"{len(acknowledged)} acknowledged, killed, {len(booked())} booked")


if sys.argv[1:] == ["work"]:
    asyncio.run(work())
else:
    main()
