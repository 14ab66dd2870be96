"""One process of several over one server: it handles, hears, publishes and halts as it is told, and writes down what it did.

Its argument is JSON: `url` and `settings` of the bus, `log` (a file that all append to), `group` with the policy of its handler or
none, `plain` to hear everything of a `selector`, `work_s` that a handler takes. Commands come as lines of words.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import threading
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from eventbus import Event, EventBus, EventBusError, Kind, create_event_bus
from eventbus.road.part import Delivery

_T = TypeVar("_T")


class Step(Event, type="work.step", key="account"):
    """Something to do for an account."""

    account: str
    n: int


class Order(Event, type="work.order", kind=Kind.EXECUTION):
    """Money would move."""


class Ask(Event, type="work.ask"):
    """A question."""

    n: int


class Worker:
    """Over one bus."""

    def __init__(self, config: dict[str, Any]) -> None:
        self._config = config
        self._log = os.open(config["log"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)
        self._bus: EventBus = create_event_bus(config["url"], **config.get("settings", {}))
        self._work_s = config.get("work_s", 0.0)

    def tell(self, *words: object) -> None:
        """One line, by one system call: a kill leaves it whole or not at all."""
        os.write(self._log, (" ".join(map(str, (os.getpid(), *words))) + "\n").encode())

    async def handle(self, event: Step, delivery: Delivery) -> None:
        """One step of the group."""
        self.tell("began", event.n, event.account, delivery.attempt, delivery.token)
        await asyncio.sleep(self._work_s)
        self.tell("ended", event.n, event.account)

    async def run(self, commands: asyncio.Queue[list[str]]) -> None:
        """Until it is told to close."""
        bus = self._bus
        await bus.connect(wait=120)
        if "group" in self._config:
            subscription = bus.subscribe(Step, self.handle, **self._config["group"])
            await self._asked_again("group", lambda: subscription)
        if self._config.get("plain"):
            selector = self._config.get("selector", "work.*")
            bus.subscribe(selector, lambda event: self.tell("heard", event.type, event.get("n")))
        if self._config.get("answers"):
            bus.subscribe(Ask, self._answer)
        self.tell("ready")
        while words := await commands.get():
            await getattr(self, f"do_{words[0]}")(*words[1:])
        report = await bus.close()
        self.tell("closed", report.left)

    async def _answer(self, event: Ask) -> int:
        return event.n * 2

    async def do_publish(self, first: str, count: str, accounts: str) -> None:
        """Steps, each acknowledged before the next."""
        for n in range(int(first), int(first) + int(count)):
            event = Step(n=n, account=f"a{n % int(accounts)}")
            self.tell("kept", n, await self._kept(event))

    async def _kept(self, event: Step) -> int | None:
        """Publish until it is acknowledged; the same event again settles what was in doubt."""
        return (await self._asked_again(event.n, lambda: self._bus.publish(event))).offset

    async def _asked_again(self, what: object, call: Callable[[], Awaitable[_T]]) -> _T:
        """Until there is an answer: the server may be away, or no answer come in time."""
        while True:
            try:
                return await call()
            except EventBusError as error:
                self.tell("again", what, type(error).__name__)
                await asyncio.sleep(0.02)

    async def do_order(self) -> None:
        """One event that a halt refuses."""
        try:
            await self._bus.publish(Order())
        except EventBusError as error:
            self.tell("refused", type(error).__name__, str(error).replace(" ", "_"))
        else:
            self.tell("accepted")

    async def do_ask(self, n: str, timeout: str) -> None:
        """One question."""
        try:
            self.tell("answer", await self._bus.request(Ask(n=int(n)), timeout=float(timeout)))
        except TimeoutError:
            self.tell("silence")

    async def do_halt(self, reason: str) -> None:
        """Set the kill switch."""
        self.tell("halted", self._bus.halt(reason))

    async def do_rearm(self, token: str) -> None:
        """Clear it."""
        await self._bus.rearm(token)
        self.tell("rearmed")

    async def do_letters(self) -> None:
        """How many dead letters there are."""
        self.tell("letters", len(await self._bus.dead_letters.list()))


def listen(put: Callable[[list[str]], None]) -> None:
    """Take commands from the standard input; its end is the last one."""
    for line in sys.stdin:
        put(line.split())
    put([])


async def main() -> None:
    """Run one worker."""
    loop, commands = asyncio.get_running_loop(), asyncio.Queue[list[str]]()
    loop.add_signal_handler(signal.SIGTERM, commands.put_nowait, [])
    worker = Worker(json.loads(sys.argv[1]))

    def put(words: list[str]) -> None:
        loop.call_soon_threadsafe(commands.put_nowait, words)

    threading.Thread(target=listen, args=(put,), daemon=True).start()
    await worker.run(commands)


if __name__ == "__main__":
    asyncio.run(main())
