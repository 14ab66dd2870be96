"""A test of a handler with the virtual clock: an hour of retries takes no time."""

from eventbus import Event, EventBus, InMemoryEventBus, Retry
from eventbus.testing import Recorder, VirtualClock, settle


class Mailer:
    def __init__(self, bus: EventBus) -> None:
        self.tries = 0
        again = Retry(attempts=4, delay=1_200, factor=1, max_delay=None, jitter=False)
        bus.subscribe("mail.due", self.send, name="mailer", retry=again)

    async def send(self, event: Event) -> None:
        self.tries += 1
        raise ConnectionError("no mail server")


async def test_it_gives_up_after_an_hour(event_bus: InMemoryEventBus, virtual_clock: VirtualClock) -> None:
    mailer = Mailer(event_bus)
    await event_bus.publish("mail.due")
    await virtual_clock.advance(3_599)
    assert (mailer.tries, event_bus.dead_letters.count()) == (3, 0)
    await virtual_clock.advance(1)
    assert (mailer.tries, event_bus.dead_letters.count()) == (4, 1)


async def test_what_follows_is_recorded(event_bus: InMemoryEventBus, recorder: Recorder) -> None:
    async def reply(event: Event) -> None:
        await event_bus.publish("pong", {"n": event["n"]})

    event_bus.subscribe("ping", reply)
    await event_bus.publish("ping", {"n": 1})
    await settle()
    assert recorder.types == ["ping", "pong"]
    assert recorder.values("n") == [1, 1]
