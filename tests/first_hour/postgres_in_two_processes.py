"""The same over PostgreSQL in two processes: they share a group, each payment is booked once, each account in order."""

import asyncio
import subprocess
import sys
from collections import Counter

from eventbus import Event, create_event_bus

URL = sys.argv[1]
COUNT, ACCOUNTS = 400, 20


class Payment(Event, type="payment.booked", key="account"):
    account: str
    number: int


async def work() -> None:
    bus = create_event_bus(URL, lease=2.0)

    async def book(payment: Payment) -> None:
        await asyncio.sleep(0.002)
        print(payment.number, payment.account, flush=True)

    async with bus:
        await bus.subscribe(Payment, book, group="ledger", concurrency=4, start="beginning")
        print("ready", flush=True)
        await asyncio.to_thread(sys.stdin.read)


async def main() -> None:
    command = [sys.executable, __file__, URL, "work"]
    workers = [subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    for worker in workers:
        assert worker.stdout is not None
        assert worker.stdout.readline() == "ready\n"
    async with create_event_bus(URL) as bus:
        for number in range(COUNT):
            await bus.publish(Payment(account=f"a-{number % ACCOUNTS}", number=number))

    async def listen(worker: subprocess.Popen[str]) -> list[tuple[int, str]]:
        found = []
        assert worker.stdout is not None
        while line := await asyncio.to_thread(worker.stdout.readline):
            number, account = line.split()
            found.append((int(number), account))
            total[0] += 1
            if total[0] >= COUNT:
                for each in workers:
                    assert each.stdin is not None
                    each.stdin.close()
        return found

    total = [0]
    shares = await asyncio.gather(*(listen(worker) for worker in workers))
    assert Counter(number for share in shares for number, _ in share) == Counter(range(COUNT)), "each once"
    for share in shares:
        for account in {account for _, account in share}:
            order = [number for number, whose in share if whose == account]
            assert order == sorted(order)
    told = subprocess.run(["eventbus", "groups", URL], capture_output=True, text=True, check=True).stdout
    assert "ledger" in told
    print("shared", *map(len, shares))


asyncio.run(work() if sys.argv[2:] else main())
