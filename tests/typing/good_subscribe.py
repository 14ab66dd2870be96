"""A handler takes the event it asked for, or a base of it, and the delivery where it wants that; sync or async."""

from typing import Any, assert_type

from eventbus import Delivery, Event, InMemoryEventBus, OnFailure, Overflow, PolicyOptions, Retry


class Fill(Event, type="typing.fill"):
    symbol: str


class PartialFill(Fill, type="typing.fill.partial"):
    left: int


bus = InMemoryEventBus()


@bus.on(Fill, retry=Retry(attempts=3, on=(OSError,)), name="ledger")
async def book(fill: Fill) -> int:
    return len(fill.symbol)


@bus.on(Fill, where=lambda fill: fill.symbol == "AAPL", concurrency=4, key="symbol", timeout=2.0, isolation="task")
async def with_delivery(fill: Fill, delivery: Delivery) -> None:
    delivery.reply(fill.symbol)


@bus.on(PartialFill, overflow=Overflow.DROP_OLDEST, queue_size=1000, max_age=1.5, on_failure=OnFailure.DROP)
def of_a_base(fill: Fill) -> None: ...


@bus.on("typing.*", overflow="drop_newest", queue_size=10, on_failure="halt", replay_last=True)
def of_a_wildcard(event: Event) -> None: ...


class Ledger:
    def on_fill(self, fill: Fill) -> None: ...

    async def __call__(self, event: Event) -> None: ...


bus.subscribe(Fill, Ledger().on_fill, key=lambda fill: fill.symbol)
bus.subscribe(Fill, Ledger())
bus.subscribe(Fill, print)
options: PolicyOptions = {"timeout": 2.0, "concurrency": 2}
bus.subscribe(Fill, book, **options)


async def use() -> None:
    assert_type(await book(Fill(symbol="AAPL")), int)
    subscription = await bus.subscribe(Fill, book)
    subscription.pause()
    left: Any = await subscription.cancel()
    print(left)
