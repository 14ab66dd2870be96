"""Prometheus: a page of metrics of one bus, read when it is asked for, and a small HTTP server for it.

Nothing is pushed: a scrape takes one reading on the loop thread of the bus. A loop that does not answer in time is shown by its
last reading and the age of that. Labels are bus, type, kind, subscription, outcome, error and group, never ids.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import os
import socket
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import replace
from types import TracebackType
from typing import Any, Self
from wsgiref.simple_server import WSGIRequestHandler, make_server

from prometheus_client import CollectorRegistry, generate_latest, make_wsgi_app
from prometheus_client.core import Metric
from prometheus_client.exposition import ThreadingWSGIServer
from prometheus_client.registry import Collector

from eventbus.bounds import truth, whole
from eventbus.clock import Clock, SystemClock
from eventbus.errors import MetricsPortUnavailable
from eventbus.observability.page import Page, families
from eventbus.observability.reading import Durations, Observed, Reader, Reading
from eventbus.observability.watchdog import LoopWatchdog
from eventbus.stats import Histogram

SUBSCRIPTIONS = 4  # with series of their own, and groups: at most 200 series in all, unless somebody asks for more
TYPES = 8  # with a series of their own
_ANSWER_S = 0.5  # how long a scrape waits for the loop
_POLL_S = 0.05  # how soon `close()` is noticed


class MetricsCollector(Collector):
    """The metrics of one bus, for a Prometheus registry of the caller's or as text. Safe to use from any thread.

    The first `subscriptions` have series of their own, 17 each, and as many groups, 3 each; the first `types` of events one each. All
    others are added up under `other`, so that a page has at most 200 series. With `histograms` run times come in buckets, 26
    series more for each subscription: without, their number and sum.
    Keep it for as long as pages are served: it remembers what keeps the counters of ended subscriptions on the page. Where the
    bus is not running yet, call it in the loop that will run the bus, or before there is one.
    """

    def __init__(
        self,
        bus: Observed,
        *,
        watchdog: LoopWatchdog | None = None,
        clock: Clock | None = None,
        subscriptions: int = SUBSCRIPTIONS,
        types: int = TYPES,
        histograms: bool = False,
    ) -> None:
        self._bus = bus
        self._watchdog = watchdog
        self._clock = clock or SystemClock()
        self._histograms = truth("histograms", histograms)
        self._reader = Reader(bus, whole("subscriptions", subscriptions, least=0), whole("types", types, least=0))
        self._lags = Histogram() if watchdog is None else watchdog.lags
        self._lock = threading.Lock()
        self._pid = os.getpid()
        self._home = _running_loop()
        self._read_now()

    def collect(self) -> Iterator[Metric]:
        """One page. Never raises for a loop that is blocked or gone: the last reading stands in, with its age."""
        self._refresh()
        return self._families(self._reading)

    def describe(self) -> Iterator[Metric]:
        """The names of the page: a registry refuses a second collector of them. Registering takes no reading."""
        return self._families(replace(self._reading, rows={}, dispatched=Counter(), raised=Counter()))

    def _families(self, reading: Reading) -> Iterator[Metric]:
        yield from families(reading, histograms=self._histograms)
        page, age_s = Page(reading.bus), (self._clock.monotonic_ns() - self._read_ns) / 1e9
        yield page.gauge("eventbus_reading_age_seconds", "How old these numbers are; high: the loop is blocked.", age_s)
        yield page.histogram(
            "eventbus_loop_lag_seconds",
            "How long the loop let wait who asked it for a sign of life: a watchdog, else whoever read this page.",
            (),
            {(): Durations.of(self._lags)},
            every=4,
        )
        if self._watchdog is not None:
            yield page.counter(
                "eventbus_loop_blocks", "Times the loop was blocked past the threshold.", self._watchdog.count
            )
            yield page.counter(
                "eventbus_loop_blocked_seconds", "Time the loop was blocked so.", self._watchdog.blocked_s
            )

    def text(self) -> str:
        """The page in the Prometheus text format."""
        registry = CollectorRegistry()
        registry.register(self)
        return generate_latest(registry).decode()

    def _read_now(self) -> None:
        self._reading = self._reader.read()
        self._read_ns = self._clock.monotonic_ns()

    def _refresh(self) -> None:
        if self._pid != os.getpid():  # a fork: the loop it was made in does not run here, nor any thread that reads
            self._pid, self._home, self._lock = os.getpid(), None, threading.Lock()
        loop = self._loop()
        if loop is not None and loop.is_running() and loop is not _running_loop():
            self._read_on(loop)
            return
        with self._lock:
            try:
                self._read_now()
            except RuntimeError:  # somebody subscribes in another thread just now; the next scrape sees it
                return

    def _read_on(self, loop: asyncio.AbstractEventLoop) -> None:
        done: concurrent.futures.Future[None] = concurrent.futures.Future()
        asked_ns = self._clock.monotonic_ns()

        def read() -> None:
            self._waited(asked_ns)
            self._read_now()

        try:
            loop.call_soon_threadsafe(_run_for, done, read)
        except RuntimeError:
            return  # the loop closed meanwhile
        try:
            done.result(_ANSWER_S)
        except TimeoutError:
            if done.cancel():
                self._waited(asked_ns)

    def _waited(self, since_ns: int) -> None:
        if self._watchdog is None:
            self._lags.add(max(0, self._clock.monotonic_ns() - since_ns))

    def _loop(self) -> asyncio.AbstractEventLoop | None:
        loop: asyncio.AbstractEventLoop | None = getattr(self._bus, "loop", None)
        return loop or self._home


class _ServerV6(ThreadingWSGIServer):
    address_family = socket.AF_INET6


class _QuietHandler(WSGIRequestHandler):
    timeout = 10.0  # seconds for a request to arrive: who only connects holds no thread for ever

    def log_message(self, format: str, *args: Any) -> None:
        """A scrape is no news."""


class MetricsServer:
    """Serves the page at `url` from a daemon thread until `close()`. Made by `serve_metrics`."""

    def __init__(self, collector: MetricsCollector, port: int, host: str) -> None:
        self.collector = collector
        registry = CollectorRegistry()
        registry.register(collector)
        try:
            self._server = make_server(
                host,
                port,
                make_wsgi_app(registry),
                _ServerV6 if ":" in host else ThreadingWSGIServer,
                handler_class=_QuietHandler,
            )
        except (OSError, OverflowError, ValueError) as error:
            reason = getattr(error, "strerror", None) or str(error)
            raise MetricsPortUnavailable(host, port, reason.lower()) from error
        self.host = host
        self.port: int = self._server.server_port
        self._thread = threading.Thread(
            target=self._server.serve_forever, args=(_POLL_S,), name="eventbus-metrics", daemon=True
        )
        self._thread.start()

    @property
    def url(self) -> str:
        return f"http://{f'[{self.host}]' if ':' in self.host else self.host}:{self.port}/metrics"

    def close(self) -> None:
        """Stop serving and free the port. In a fork of its process only the copy of the socket is closed."""
        if self._thread.is_alive():
            self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def serve_metrics(
    bus: Observed,
    port: int,
    host: str = "127.0.0.1",
    *,
    watchdog: LoopWatchdog | None = None,
    subscriptions: int = SUBSCRIPTIONS,
    types: int = TYPES,
    histograms: bool = False,
) -> MetricsServer:
    """Serve the metrics of `bus` over HTTP from a daemon thread; port 0 takes any free one (see `.port`).

    `subscriptions`, `types` and `histograms` as for `MetricsCollector`.
    Raises `MetricsPortUnavailable` for a busy or forbidden port and for a host that is not of this machine.
    """
    collector = MetricsCollector(
        bus, watchdog=watchdog, subscriptions=subscriptions, types=types, histograms=histograms
    )
    return MetricsServer(collector, port, host)


def metrics_text(bus: Observed, *, watchdog: LoopWatchdog | None = None) -> str:
    """One page of metrics as text. Who serves pages again and again keeps a `MetricsCollector` and asks that for its text."""
    return MetricsCollector(bus, watchdog=watchdog).text()


def _running_loop() -> asyncio.AbstractEventLoop | None:
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


def _run_for(done: concurrent.futures.Future[None], call: Callable[[], None]) -> None:
    """Run it, unless whoever waits has given up."""
    if not done.set_running_or_notify_cancel():
        return
    try:
        call()
    except BaseException as error:  # noqa: BLE001 - it belongs to the thread that asked
        done.set_exception(error)
    else:
        done.set_result(None)
