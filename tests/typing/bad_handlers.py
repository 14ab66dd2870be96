"""A handler for another class, or with too many arguments, is an error."""

from eventbus import Delivery, Event, InMemoryEventBus


class Fill(Event, type="typing.fill"):
    symbol: str


class Order(Event, type="typing.order"):
    symbol: str


async def take_order(order: Order) -> None: ...


async def take_nothing() -> None: ...


async def take_three(fill: Fill, delivery: Delivery, more: int) -> None: ...


bus = InMemoryEventBus()
bus.subscribe(Fill, take_order)  # E: incompatible type|No overload variant
bus.subscribe(Fill, take_nothing)  # E: incompatible type|No overload variant
bus.subscribe(Fill, take_three)  # E: incompatible type|No overload variant
bus.subscribe(Fill, "not a handler")  # E: incompatible type|No overload variant
bus.on(Fill)(take_order)  # E: incompatible type|No overload variant
bus.on(Fill)(take_nothing)  # E: incompatible type|No overload variant
bus.on(Fill)(take_three)  # E: incompatible type|No overload variant
