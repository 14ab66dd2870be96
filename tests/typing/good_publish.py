"""What publishing gives is known."""

import concurrent.futures
from typing import assert_type

from eventbus import Event, InMemoryEventBus, Outcome, Receipt, ShutdownReport


async def use(bus: InMemoryEventBus) -> None:
    receipt = await bus.publish("typing.made", {"n": 1}, timeout=2)
    assert_type(receipt, Receipt)
    assert_type(await receipt, tuple[Outcome, ...])
    assert_type(bus.publish_nowait(Event("typing.made")), Receipt)
    assert_type(await bus.publish_and_wait(Event("typing.made")), list[BaseException])
    assert_type(await bus.publish_many([Event("typing.made")]), list[Receipt])
    assert_type(bus.publish_threadsafe("typing.made"), concurrent.futures.Future[Receipt])
    assert_type(await bus.drain(timeout=1), bool)
    assert_type(await bus.shutdown(timeout=1), ShutdownReport)
