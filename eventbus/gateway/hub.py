"""Hub: who listens to what, and the fan-out: what was dispatched goes to every client that wants it, written once.

It deals after the bus has had its turn, never inside a dispatch, and awaits nobody. Knows clients, not sockets.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from eventbus.gateway.client import Client
from eventbus.gateway.feed import Feed, Item
from eventbus.gateway.listening import Chart, Topic
from eventbus.gateway.wire import framed, message

if TYPE_CHECKING:
    from eventbus import Clock, Event
    from eventbus.gateway.counts import Counts
    from eventbus.gateway.line import Line

PING_S = 20.0
STALE_S = 90.0
LAST_WORDS_S = 0.5
"""How long the end waits for clients that have fallen behind."""

_log = logging.getLogger(__name__)

_A_TURN = 2_000  # messages in one turn of the loop
_ROUTES = 4_096  # types may come from outside by the thousand
_Route = tuple[tuple[Client, tuple[Topic, ...]], ...]


class Hub:
    """The clients of one gateway."""

    def __init__(self, feed: Feed, counts: Counts, clock: Clock) -> None:
        self.feed = feed
        self.counts = counts
        self._clock = clock
        self._clients: dict[Client, None] = {}
        self._routes: dict[str, _Route] = {}
        self._charts: dict[int, dict[Client, list[Chart]]] = {}
        self._touched: list[Client] = []
        self._listening = 0  # topics of all clients
        self._is_due = False
        self._arrived_s = 0.0  # when the oldest event came that was not dealt yet
        counts.read_levels(self._levels)

    # --- who is there ----------------------------------------------------------------------------------------------------

    def join(self, line: Line, may_read: Callable[[str], bool], is_known: Callable[[], bool]) -> Client:
        """A client has come. It listens to nothing yet. `is_known` says whether it is still let in."""
        client = Client(
            line, self.feed, self.counts, self._clock, touched=self._touch, may_read=may_read, is_known=is_known
        )
        self._clients[client] = None
        return client

    def leave(self, client: Client) -> None:
        """It is gone, from every index. May be called twice."""
        if self._clients.pop(client, self) is self:
            return
        self.ignore(client, client.topics.values(), client.charts.items())
        client.end()

    def __len__(self) -> int:
        return len(self._clients)

    @property
    def clients(self) -> tuple[Client, ...]:
        """Those who are there, oldest first."""
        return tuple(self._clients)

    # --- what they listen to ---------------------------------------------------------------------------------------------

    def listen(
        self, client: Client, topics: Iterable[Topic] = (), charts: Iterable[tuple[tuple[str | None, int], Chart]] = ()
    ) -> None:
        """A client listens to these, besides what it did; the same topic of the same id takes the place of the older one."""
        for topic in topics:
            self._listening += (topic.id, topic.topic) not in client.topics
            client.topics[topic.id, topic.topic] = topic
            self._routes.clear()
            client.changed()
        for key, chart in charts:
            client.charts[key] = chart
            self._index(client, key[1])

    def ignore(
        self, client: Client, topics: Iterable[Topic] = (), charts: Iterable[tuple[tuple[str | None, int], Chart]] = ()
    ) -> None:
        """A client listens to these no more; what still waits for them is not sent."""
        topics, charts = [*topics], [*charts]
        for topic in topics:
            self._listening -= 1
            del client.topics[topic.id, topic.topic]
            self._routes.clear()
            client.changed()
        for key, _ in charts:
            del client.charts[key]
            self._index(client, key[1])
        client.forget([*topics, *(chart for _, chart in charts)])

    def _index(self, client: Client, number: int) -> None:
        found = [chart for (_, each), chart in client.charts.items() if each == number]
        if found:
            self._charts.setdefault(number, {})[client] = found
        elif number in self._charts:
            self._charts[number].pop(client, None)
            if not self._charts[number]:
                del self._charts[number]

    # --- events ----------------------------------------------------------------------------------------------------------

    def arrived(self) -> None:
        """Events were put into the ring; they are dealt in the next turn of the loop."""
        ring = self.feed.ring
        if not self._listening:
            self.feed.catch_up(ring.head)
        elif not self._is_due:
            self._is_due, self._arrived_s = True, time.monotonic()
            asyncio.get_running_loop().call_soon(self._deal_some)
        elif ring.head - self.feed.dealt >= ring.size // 2:  # before they leave the ring again
            self.deal()

    def deal(self, most: int | None = None) -> None:
        """Give everything that arrived to those who listen; with `most`, about so many messages of it."""
        feed, ring, routes = self.feed, self.feed.ring, self._routes
        after, head, offered = feed.dealt, ring.head, 0
        for seq, event in enumerate(ring.after(after, head - after), after + 1):
            if event is None:
                continue
            route = routes.get(event.type)
            if route is None:
                route = self._find(event.type)
            if route:
                item = feed.item(seq, event)
                try:
                    for client, topics in route:
                        client.offer(item, topics)
                except Exception:  # noqa: BLE001 - the last net under what others put into events: the next goes on
                    self.counts.failed()
                    _log.exception("event not sent", extra={"type": event.type})
                offered += len(route)
                if most is not None and offered >= most:
                    head = seq
                    break
        feed.catch_up(head)
        self._flush()

    def _deal_some(self) -> None:
        """In a turn of the loop that others want a part of, too."""
        self.deal(_A_TURN)
        self._is_due = self.feed.dealt < self.feed.ring.head
        if self._is_due:
            asyncio.get_running_loop().call_soon(self._deal_some)

    def pass_by(self, events: Iterable[Event]) -> None:
        """Values that no journal keeps, and that have no number of their own: for those who follow, as they come."""
        self.deal()
        for event in events:
            item = Item(self.feed.dealt, event, lambda _item, _size: None)
            for client, topics in self._routes.get(event.type) or self._find(event.type):
                client.offer(item, topics)
        self._flush()

    def _find(self, type_name: str) -> _Route:
        if len(self._routes) >= _ROUTES:
            self._routes.clear()
        found = ((client, client.wanting(type_name)) for client in self._clients if client.topics)
        route = self._routes[type_name] = tuple((client, topics) for client, topics in found if topics)
        return route

    def _touch(self, client: Client) -> None:
        self._touched.append(client)
        if not self._is_due:
            self._is_due, self._arrived_s = True, time.monotonic()
            asyncio.get_running_loop().call_soon(self._deal_some)

    def _flush(self) -> None:
        touched, self._touched = self._touched, []
        written = sum([client.flush() for client in touched])
        if written:
            self.counts.delayed(time.monotonic() - self._arrived_s, written)

    # --- what is no event of the ring ------------------------------------------------------------------------------------

    def tell_chart(self, kind: str, characteristic_id: int, payload: Mapping[str, Any]) -> int:
        """A message for those who listen to a control chart, written once; gives to how many it went."""
        listening = self._charts.get(characteristic_id)
        if not listening:
            return 0
        frame, told = None, 0
        for client, charts in [*listening.items()]:
            wanting = [chart for chart in charts if chart.wants(payload)]
            if wanting:
                frame = frame or framed(message(kind, {"payload": payload}))
                client.say_framed(kind, frame, wanting)
                told += 1
        return told

    def tell_everybody(self, kind: str, payload: Mapping[str, Any], *, topic: str) -> int:
        """A message for every client that may read events of this type, whatever it listens to."""
        frame, told = framed(message(kind, {"payload": payload})), 0
        for client in self.clients:
            if client.may_read(topic):
                client.say_framed(kind, frame)
                told += 1
        return told

    def resnapshot(self) -> None:
        """Another log is counted from now on: what clients know is no use any more."""
        ring = self.feed.ring
        self.feed.catch_up(ring.head)
        for client in self.clients:
            client.start_over(ring.epoch, self.feed.oldest, ring.head)

    # --- time ------------------------------------------------------------------------------------------------------------

    def beat(self) -> None:
        """Look after everybody: ping, let go of those who are not there and those who cannot follow."""
        now = self._clock.monotonic_ns()
        for client in self.clients:
            if not client.line.is_open:
                continue
            if client.is_slow(now):
                client.lost(1013, "slow_consumer")
            elif client.is_gone(now, STALE_S):
                client.lost(1011, "nobody there")
            elif not client.is_known():
                client.lost(4401, "token expired or revoked")
            else:
                client.ask(now, PING_S)

    async def end(self, code: int, reason: str) -> None:
        """Close them all, after everybody who follows was given everything."""
        self.deal()
        until = time.monotonic() + LAST_WORDS_S
        while any(client.is_behind for client in self._clients) and time.monotonic() < until:  # noqa: ASYNC110 - of many
            await asyncio.sleep(0.01)
        for client in self.clients:
            client.lost(code, reason)

    def _levels(self) -> tuple[int, int, int]:
        clients = self._clients
        return len(clients), sum(one.waiting_bytes for one in clients), sum(one.conflated for one in clients)
