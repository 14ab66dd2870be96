"""A policy that is misspelt or of the wrong type is an error."""

from eventbus import Event, InMemoryEventBus


class Fill(Event, type="typing.fill"):
    symbol: str


async def book(fill: Fill) -> None: ...


bus = InMemoryEventBus()
bus.subscribe(Fill, book, retyr=3)  # E: Unexpected keyword argument "retyr"|No overload variant
bus.subscribe(Fill, book, retry=3)  # E: incompatible type "int"|No overload variant
bus.subscribe(Fill, book, timeout="2")  # E: incompatible type "str"|No overload variant
bus.subscribe(Fill, book, concurrency=2.5)  # E: incompatible type "float"|No overload variant
bus.subscribe(Fill, book, isolation="process")  # E: incompatible type "Literal\['process'\]|No overload variant
bus.subscribe(Fill, book, where="n > 1")  # E: incompatible type "str"|No overload variant
bus.subscribe(Fill, book, key=5)  # E: incompatible type "int"|No overload variant
bus.subscribe(Fill, book, overflow="drop_some")  # E: incompatible type "Literal\['drop_some'\]|No overload variant
bus.on(Fill, retyr=3)  # E: Unexpected keyword argument "retyr"|No overload variant
bus.stream(Fill, retyr=3)  # E: Unexpected keyword argument "retyr"|No overload variant
