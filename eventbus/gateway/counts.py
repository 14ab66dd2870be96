"""Counts: what a gateway did for its WebSocket clients, in numbers, and how they look on a page of metrics.

Plain numbers that are added to as things happen; a collector reads them when it is asked. No topic, token or address is a label.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Callable, Iterator

from prometheus_client.core import HistogramMetricFamily, Metric
from prometheus_client.registry import Collector

from eventbus.observability.page import Page
from eventbus.observability.reading import labelled

EDGES_S = (0.001, 0.01, 0.1, 0.5, 2.5)


class Counts(Collector):
    """The numbers of one gateway. `bus` is the name of the one behind it, which every series names."""

    def __init__(self, bus: str) -> None:
        self._bus = bus
        self.sent: Counter[str] = Counter()  # by the type of the message
        self.closed: Counter[int] = Counter()  # by the code
        self.refused: Counter[str] = Counter()  # by the reason
        self._conflated = 0  # for clients that are gone
        self._replayed = 0
        self._failures = 0
        self._delays = [0] * (len(EDGES_S) + 1)
        self._delay_s = 0.0
        self._levels: Callable[[], tuple[int, int, int]] = _nobody

    def read_levels(self, levels: Callable[[], tuple[int, int, int]]) -> None:
        """Ask this for the number of clients, the bytes that wait for them, and the values that they were spared."""
        self._levels = levels

    def spared(self, values: int) -> None:
        """A client is gone that was not sent so many values because newer ones were."""
        self._conflated += values

    def replayed(self, events: int) -> None:
        """So many events were given to clients that came back, or had fallen behind."""
        self._replayed += events

    def failed(self) -> None:
        """A view or a message for control charts could not be made."""
        self._failures += 1

    def delayed(self, seconds: float, messages: int) -> None:
        """So many messages were handed to sockets so long after their events were dispatched."""
        self._delays[bisect_left(EDGES_S, seconds)] += messages
        self._delay_s += seconds * messages

    def collect(self) -> Iterator[Metric]:
        """One page."""
        clients, waiting, conflated = self._levels()
        page = Page(self._bus)
        yield page.gauge("eventbus_gateway_clients", "Connected WebSocket clients.", clients)
        yield page.gauge("eventbus_gateway_outbox_bytes", "Bytes that wait for slow clients.", waiting)
        yield _by(page, "eventbus_gateway_sent_messages", "Messages sent.", "kind", self.sent, 9)
        yield _by(page, "eventbus_gateway_closed", "Connections that the gateway closed.", "code", self.closed, 4)
        yield _by(page, "eventbus_gateway_refused", "What was not let in, by reason.", "reason", self.refused, 5)
        yield page.counter(
            "eventbus_gateway_conflated", "Values not sent because a newer one was.", self._conflated + conflated
        )
        yield page.counter("eventbus_gateway_replayed_events", "Events sent to clients that came back.", self._replayed)
        yield page.counter(
            "eventbus_gateway_failures", "Views and chart messages that could not be made.", self._failures
        )
        total, buckets = 0, []
        for edge, count in zip((*map(str, EDGES_S), "+Inf"), self._delays, strict=True):
            total += count
            buckets.append((edge, float(total)))
        delays = HistogramMetricFamily(
            "eventbus_gateway_send_delay_seconds", "From the dispatch of an event to the socket.", labels=["bus"]
        )
        delays.add_metric([self._bus], buckets, self._delay_s)
        yield delays


def _by(page: Page, name: str, text: str, label: str, counted: Counter[str] | Counter[int], most: int) -> Metric:
    """So many values have a series of their own: those that came first."""
    shown = labelled(counted, most)
    return page.counters(name, text, (label,), [((value,), count) for value, count in shown.items()])


def _nobody() -> tuple[int, int, int]:
    return 0, 0, 0
