"""The same over PostgreSQL in two processes: they share a group, every payment is booked, each account in order."""

import asyncio
import subprocess
import sys

from eventbus import Event, create_event_bus

URL = sys.argv[1]
ACCOUNTS, ROUND = 20, 50


class Payment(Event, type="payment.booked", key="account"):
    account: str
    number: int


async def work() -> None:
    """One of those that handle, until its input ends."""
    bus = create_event_bus(URL, lease=30.0)

    async def book(payment: Payment) -> None:
        await asyncio.sleep(0.002)
        print(payment.number, payment.account, flush=True)

    async with bus:
        await bus.subscribe(Payment, book, group="ledger", concurrency=4, start="beginning")
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


class Worker:
    """A process that handles, and what it said."""

    def __init__(self) -> None:
        command = [sys.executable, __file__, URL, "work"]
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.booked: list[tuple[int, str]] = []
        assert self.line() == ["ready"]

    def line(self) -> list[str]:
        assert self.process.stdout is not None
        return self.process.stdout.readline().split()

    async def listen(self) -> None:
        while words := await asyncio.to_thread(self.line):
            self.booked.append((int(words[0]), words[1]))

    def end(self) -> None:
        assert self.process.stdin is not None
        self.process.stdin.close()
        assert self.process.wait() == 0


async def main() -> None:
    workers = [Worker(), Worker()]
    listening = [asyncio.create_task(worker.listen()) for worker in workers]
    number = 0

    def missing() -> set[int]:
        return {*range(number)} - {booked for worker in workers for booked, _ in worker.booked}

    async with create_event_bus(URL) as bus:
        while not all(worker.booked for worker in workers):  # until both have had some of it
            for _ in range(ROUND):
                await bus.publish(Payment(account=f"a-{number % ACCOUNTS}", number=number))
                number += 1
        while missing():  # noqa: ASYNC110 - the workers say one by one what they did
            await asyncio.sleep(0.01)
    told = await asyncio.to_thread(subprocess.run, ["eventbus", "groups", URL], capture_output=True, text=True)
    assert "ledger" in told.stdout, told
    for worker in workers:
        worker.end()
    await asyncio.gather(*listening)
    for worker in workers:
        for account in {account for _, account in worker.booked}:
            order = [booked for booked, whose in worker.booked if whose == account]
            assert order == sorted(order), f"{account} is not in order"
    print("shared", *(len(worker.booked) for worker in workers))


asyncio.run(work() if sys.argv[2:] else main())
