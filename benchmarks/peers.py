"""Peers: other event libraries on the first workload, those that are installed. Most call the handler at once, without a queue."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from importlib.util import find_spec
from typing import Any

from benchmarks.compare import Now, Side
from benchmarks.sides import Witness, counted


def installed() -> dict[str, Side]:
    """By name, with the numbers of events that give each about the same time."""
    known = {
        "blinker": Side(_timed(_blinker), 20_000),
        "psygnal": Side(_timed(_psygnal), 20_000),
        "eventkit": Side(_timed(_eventkit), 20_000),
        "pyee": Side(_pyee, 5_000),
        "bubus": Side(_bubus, 100),
    }
    return {name: side for name, side in known.items() if find_spec(name) is not None}


def _timed(connect: Callable[[Witness], Callable[[Any], Any]]) -> Any:
    async def run(count: int, now: Now) -> float:
        events, witness = counted(count), Witness()
        send = connect(witness)
        began = now()
        for event in events:
            send(event)
        seconds = now() - began
        witness.check(events)
        return seconds

    return run


def _blinker(witness: Witness) -> Callable[[Any], Any]:
    import blinker

    signal = blinker.Signal()
    signal.connect(witness.on_event_sync, weak=False)
    send: Callable[[Any], Any] = signal.send
    return send


def _psygnal(witness: Witness) -> Callable[[Any], Any]:
    import psygnal

    signal = psygnal.SignalInstance((object,))
    signal.connect(witness.on_event_sync)
    emit: Callable[[Any], Any] = signal.emit
    return emit


def _eventkit(witness: Witness) -> Callable[[Any], Any]:
    asyncio.set_event_loop(asyncio.get_running_loop())  # eventkit asks the policy for one as it is imported
    import eventkit

    event = eventkit.Event("counted")
    event.connect(witness.on_event_sync)
    emit: Callable[[Any], Any] = event.emit
    return emit


async def _pyee(count: int, now: Now) -> float:
    from pyee.asyncio import AsyncIOEventEmitter

    events, witness = counted(count), Witness()
    emitter = AsyncIOEventEmitter()
    emitter.add_listener("counted", witness.on_event)
    began = now()
    for event in events:
        emitter.emit("counted", event)
    await emitter.wait_for_complete()
    seconds = now() - began
    witness.check(events)
    return seconds


async def _bubus(count: int, now: Now) -> float:
    import bubus

    logging.getLogger("bubus").setLevel(logging.ERROR)
    events = [bubus.BaseEvent(event_type="Counted") for _ in range(count)]
    witness, bus = Witness(), bubus.EventBus(name="Bench")

    async def on_event(event: Any) -> None:
        witness.on_event_sync(event)

    bus.on("Counted", on_event)
    began = now()
    for event in events:
        await bus.dispatch(event)
    seconds = now() - began
    await bus.stop(clear=True)
    witness.check(events)
    await asyncio.sleep(0)
    return seconds
