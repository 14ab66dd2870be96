"""Peers: other event libraries on the rows they can do, those that are installed.

Most call handlers inside publish, without a queue: nothing is bounded, retried or kept apart there, and the report marks them.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Sequence
from functools import partial
from importlib.util import find_spec
from typing import Any

from benchmarks.rows import Now, Run
from benchmarks.sides import Witness, counted, plainly
from benchmarks.sides import suspending as suspending_handler


class Peer:
    """A library in the words of the rows. Here handlers are plain functions and run inside publish."""

    title: str
    is_inline = True
    fewer = 1  # times fewer events take about as long as the others'

    def make(self, _topic: str, event: Any) -> Any:
        """What it can carry."""
        return event

    def connect(self, topic: str, witness: Witness) -> None:
        raise NotImplementedError

    def sender(self, topic: str) -> Callable[[Any], Any]:
        raise NotImplementedError

    async def publish_all(self, sends: Sequence[Callable[[Any], Any]], events: Sequence[Any]) -> None:
        """The event of each number by the sender of that number, until all are handled."""
        for send, event in zip(sends, events, strict=True):
            send(event)

    async def close(self) -> None:
        return


class Blinker(Peer):
    title = "blinker"

    def __init__(self) -> None:
        import blinker

        self._signals = blinker.Namespace()

    def connect(self, topic: str, witness: Witness) -> None:
        self._signals.signal(topic).connect(_function(witness), weak=False)

    def sender(self, topic: str) -> Callable[[Any], Any]:
        send: Callable[[Any], Any] = self._signals.signal(topic).send
        return send


class Psygnal(Peer):
    title = "psygnal"

    def __init__(self) -> None:
        import psygnal

        self._make = psygnal.SignalInstance
        self._signals: dict[str, Any] = {}

    def _signal(self, topic: str) -> Any:
        if topic not in self._signals:
            self._signals[topic] = self._make((object,))
        return self._signals[topic]

    def connect(self, topic: str, witness: Witness) -> None:
        self._signal(topic).connect(_function(witness))

    def sender(self, topic: str) -> Callable[[Any], Any]:
        emit: Callable[[Any], Any] = self._signal(topic).emit
        return emit


class Eventkit(Peer):
    title = "eventkit"

    def __init__(self) -> None:
        asyncio.set_event_loop(asyncio.get_running_loop())  # it asks the policy for one as it is imported
        import eventkit

        self._make = eventkit.Event
        self._events: dict[str, Any] = {}

    def _event(self, topic: str) -> Any:
        if topic not in self._events:
            self._events[topic] = self._make(topic)
        return self._events[topic]

    def connect(self, topic: str, witness: Witness) -> None:
        self._event(topic).connect(_function(witness))

    def sender(self, topic: str) -> Callable[[Any], Any]:
        emit: Callable[[Any], Any] = self._event(topic).emit
        return emit


class Pyee(Peer):
    """A task per delivery."""

    title = "pyee"
    is_inline = False
    fewer = 4

    def __init__(self, handling: Callable[[Witness], Any] = plainly) -> None:
        from pyee.asyncio import AsyncIOEventEmitter

        self._emitter = AsyncIOEventEmitter()
        self._handling = handling

    def connect(self, topic: str, witness: Witness) -> None:
        self._emitter.add_listener(topic, self._handling(witness))

    def sender(self, topic: str) -> Callable[[Any], Any]:
        return lambda event: self._emitter.emit(topic, event)

    async def publish_all(self, sends: Sequence[Callable[[Any], Any]], events: Sequence[Any]) -> None:
        await super().publish_all(sends, events)
        await self._emitter.wait_for_complete()


class Bubus(Peer):
    """Each event is awaited: more than a hundred pending ones are refused."""

    title = "bubus"
    is_inline = False
    fewer = 200

    def __init__(self, handling: Callable[[Witness], Any] = plainly) -> None:
        import bubus

        logging.getLogger("bubus").setLevel(logging.CRITICAL)
        self._bubus, self._bus, self._handling = bubus, bubus.EventBus(name="Bench"), handling

    def make(self, topic: str, _event: Any) -> Any:
        return self._bubus.BaseEvent(event_type=topic)

    def connect(self, topic: str, witness: Witness) -> None:
        handler = self._handling(witness)

        async def on_event(event: Any) -> None:  # a name of its own for each
            await handler(event)

        on_event.__name__ = f"on_event_{id(witness)}"
        self._bus.on(topic, on_event)

    def sender(self, _topic: str) -> Callable[[Any], Any]:
        dispatch: Callable[[Any], Any] = self._bus.dispatch
        return dispatch

    async def publish_all(self, sends: Sequence[Callable[[Any], Any]], events: Sequence[Any]) -> None:
        for send, event in zip(sends, events, strict=True):
            await send(event)

    async def close(self) -> None:
        await self._bus.stop(clear=True)
        await asyncio.sleep(0)


QUEUELESS: tuple[type[Peer], ...] = (Blinker, Psygnal, Eventkit)


def plain() -> dict[str, Run]:
    """One type, one handler."""
    return _installed({each: _delivering(each, ["counted"], 1) for each in (*QUEUELESS, Pyee, Bubus)})


def fan_out(handlers: int) -> dict[str, Run]:
    return _installed({each: _delivering(each, ["counted"], handlers) for each in (*QUEUELESS, Pyee, Bubus)})


def types_in_turn(number: int) -> dict[str, Run]:
    topics = [f"counted{each}" for each in range(number)]
    return _installed({each: _delivering(each, topics, 1) for each in (*QUEUELESS, Pyee, Bubus)})


def suspending() -> dict[str, Run]:
    """Handlers that give the loop a turn: for those that take coroutines."""
    return _installed({each: _delivering(partial(each, suspending_handler), ["counted"], 1) for each in (Pyee, Bubus)})


def awaited() -> dict[str, Run]:
    """Publish, and know that it was handled."""
    return _installed({Bubus: _delivering(Bubus, ["counted"], 1)})


def making(make: Callable[[int], Any]) -> dict[str, Run]:
    """Events made as they are published: for those that carry any object."""
    return _installed({each: _making(each, make) for each in (*QUEUELESS, Pyee)})


def subscribed() -> dict[str, Run]:
    """Seconds to connect so many handlers, half of them to one topic."""
    return _installed({each: _subscribed(each) for each in (*QUEUELESS, Pyee, Bubus)})


def _function(witness: Witness) -> Callable[[Any], None]:
    """A receiver of its own: the same one twice would be one."""

    def on_event(event: Any) -> None:
        witness.append(event)

    return on_event


def _installed(runs: dict[type[Peer], Run]) -> dict[str, Run]:
    return {
        f"{peer.title} (inside publish)" if peer.is_inline else peer.title: run
        for peer, run in runs.items()
        if find_spec(peer.title) is not None
    }


def _delivering(peer_of: Callable[[], Peer], topics: Sequence[str], handlers: int) -> Run:
    async def run(count: int, now: Now) -> float:
        peer = peer_of()
        number = max(1, count // peer.fewer)
        witnesses = {topic: [Witness() for _ in range(handlers)] for topic in topics}
        for topic, heard_by in witnesses.items():
            for witness in heard_by:
                peer.connect(topic, witness)
        turns = [topics[at % len(topics)] for at in range(number)]
        events = [peer.make(topic, event) for topic, event in zip(turns, counted(number), strict=True)]
        sends = [peer.sender(topic) for topic in turns]
        began = now()
        await peer.publish_all(sends, events)
        seconds = now() - began
        await peer.close()
        for topic, heard_by in witnesses.items():
            for witness in heard_by:
                witness.check(event for turn, event in zip(turns, events, strict=True) if turn == topic)
        return seconds / number

    return run


def _making(peer_of: Callable[[], Peer], make: Callable[[int], Any]) -> Run:
    async def run(count: int, now: Now) -> float:
        peer, witness, made = peer_of(), Witness(), []
        peer.connect("trade", witness)
        send = peer.sender("trade")

        def publish(number: int) -> None:
            made.append(make(number))
            send(made[-1])

        began = now()
        await peer.publish_all([publish] * count, range(count))
        seconds = now() - began
        witness.check(made)
        return seconds / count

    return run


def _subscribed(peer_of: Callable[[], Peer]) -> Run:
    async def run(count: int, now: Now) -> float:
        peer, witness = peer_of(), Witness()
        began = now()
        for number in range(count):
            peer.connect("counted" if number % 2 else f"topic{number}", witness)
        seconds = now() - began
        await peer.close()
        return seconds

    return run
