"""The answer of a request has the type that the request names."""

from eventbus import InMemoryEventBus, Request


class CountOf(Request[int], type="typing.count.of"):
    symbol: str


async def use(bus: InMemoryEventBus) -> None:
    text: str = await bus.request(CountOf(symbol="AAPL"))  # E: incompatible type|Incompatible types|"request"
    (await bus.request("typing.anything")).bit_length()  # E: "object" has no attribute "bit_length"
    print(text)
