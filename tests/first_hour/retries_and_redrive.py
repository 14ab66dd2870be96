"""Retries, a dead letter, the reason of it, and the same delivery again when the fault is mended."""

import asyncio

from eventbus import Event, InMemoryEventBus, Retry


async def main() -> None:
    bus = InMemoryEventBus()
    is_open, tries = False, 0

    @bus.on("payment.due", name="bank", retry=Retry(attempts=3, delay=0.01, on=(ConnectionError,)))
    async def pay(event: Event) -> None:
        nonlocal tries
        tries += 1
        if not is_open:
            raise ConnectionError("the bank is closed")

    async with bus:
        errors = await bus.publish_and_wait("payment.due", {"cents": 5})
        assert tries == 3
        assert [str(error) for error in errors] == ["the bank is closed"]
        (letter,) = await bus.dead_letters.list()
        assert (letter.subscription, letter.attempts, letter.event["cents"]) == ("bank", 3, 5)
        assert "the bank is closed" in letter.error
        assert "retries_and_redrive.py" in letter.traceback
        is_open = True
        assert await bus.dead_letters.redrive() == 1
        await bus.drain()
        assert (tries, bus.dead_letters.count()) == (4, 0)
    print("three attempts, a dead letter, redriven")


asyncio.run(main())
