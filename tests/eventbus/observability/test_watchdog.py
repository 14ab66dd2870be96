from __future__ import annotations

import asyncio
import logging
import os
import re
import signal
import threading
import time
import traceback
from typing import Any

import pytest

from eventbus import BusNotRunning, Event, InMemoryEventBus, PolicyConflict
from eventbus.observability import Block, LoopWatchdog, metrics_text
from eventbus.observability.watchdog import _Sign

pytestmark = pytest.mark.timed  # it watches real time: run alone, and nothing asserted within a factor of ten

THRESHOLD = 0.2
PATIENCE = 30.0


class Blocked(Event, type="watchdog.blocked"):
    """A handler is about to block the loop."""


class Witness:
    """Blocks the loop until the watchdog has noticed."""

    def __init__(self) -> None:
        self.blocks: list[Block] = []
        self._noticed = threading.Event()

    def note(self, block: Block) -> None:
        self.blocks.append(block)
        self._noticed.set()

    async def hold_the_loop(self, _event: Event) -> None:
        assert self._noticed.wait(PATIENCE), "nobody noticed"
        self._noticed.clear()


@pytest.fixture
def witness() -> Witness:
    return Witness()


async def block_once(witness: Witness, bus: InMemoryEventBus, **policy: Any) -> Block:
    bus.subscribe(Blocked, witness.hold_the_loop, name="ledger", **policy)
    with LoopWatchdog(bus, THRESHOLD, on_block=witness.note):
        async with bus:
            await bus.publish(Blocked())
            await bus.drain()
    (block,) = witness.blocks
    return block


@pytest.mark.parametrize("policy", [{}, {"isolation": "task"}, {"timeout": 60.0}])
async def test_handler_that_blocks_the_loop_is_named(witness: Witness, policy: dict[str, Any]) -> None:
    block = await block_once(witness, InMemoryEventBus(), **policy)
    assert (block.subscription, block.type) == ("ledger", "watchdog.blocked")
    assert "hold_the_loop" in block.stack
    assert re.search(r"wait.*threading\.py:\d+", block.where)
    assert block.is_over
    assert block.blocked_s >= THRESHOLD * 0.9


async def test_handler_in_the_middle_of_a_batch_is_named(witness: Witness) -> None:
    async def on_counted(event: Event) -> None:
        if event["n"] == 30:
            await witness.hold_the_loop(event)

    bus = InMemoryEventBus()
    bus.subscribe("counted", on_counted, name="counter")
    with LoopWatchdog(bus, THRESHOLD, on_block=witness.note):
        async with bus:
            for n in range(100):
                await bus.publish("counted", {"n": n})
            await bus.drain()
    assert [block.subscription for block in witness.blocks] == ["counter"]


async def test_what_is_logged_says_who_blocked_where_and_for_how_long(
    witness: Witness, caplog: pytest.LogCaptureFixture
) -> None:
    """Also where nobody configured logging, and fields are not shown."""
    with caplog.at_level(logging.ERROR, "eventbus"):
        await block_once(witness, InMemoryEventBus())
    said = (
        r"event loop blocked: ledger handling watchdog\.blocked at .*wait.*threading\.py:\d+.*, for \d+\.\d+ s so far"
    )
    assert re.fullmatch(said, caplog.messages[0])


async def test_block_outside_a_delivery_shows_its_stack(witness: Witness) -> None:
    with LoopWatchdog(asyncio.get_running_loop(), THRESHOLD, on_block=witness.note):
        await witness.hold_the_loop(Blocked())
    assert witness.blocks[0].subscription == ""
    assert "hold_the_loop" in witness.blocks[0].stack


async def test_each_block_is_logged_and_counted_once(witness: Witness, caplog: pytest.LogCaptureFixture) -> None:
    loop = asyncio.get_running_loop()
    with caplog.at_level(logging.ERROR, "eventbus"), LoopWatchdog(loop, THRESHOLD, on_block=witness.note) as watchdog:
        for _ in range(2):
            await witness.hold_the_loop(Blocked())
            await sign_of_life(watchdog)
    assert watchdog.count == len(watchdog.blocks) == len(witness.blocks) == 2
    assert len(caplog.records) == 2
    assert watchdog.blocked_s == pytest.approx(sum(block.blocked_s for block in witness.blocks))


async def test_block_is_reported_although_a_signal_arrives_meanwhile(witness: Witness) -> None:
    asked_to_end = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, asked_to_end.set)
    try:
        with LoopWatchdog(loop, THRESHOLD, on_block=witness.note):
            os.kill(os.getpid(), signal.SIGTERM)
            await witness.hold_the_loop(Blocked())
            await asked_to_end.wait()
    finally:
        loop.remove_signal_handler(signal.SIGTERM)
    assert len(witness.blocks) == 1


async def test_blocks_stand_on_the_metrics_page(witness: Witness) -> None:
    bus = InMemoryEventBus(name="desk")
    with LoopWatchdog(asyncio.get_running_loop(), THRESHOLD, on_block=witness.note) as watchdog:
        await witness.hold_the_loop(Blocked())
        await sign_of_life(watchdog)
        page = metrics_text(bus, watchdog=watchdog)
    assert 'eventbus_loop_blocks_total{bus="desk"} 1.0' in page
    assert re.search(r'eventbus_loop_blocked_seconds_total\{bus="desk"\} 0\.\d+', page)


class Delayed(_Sign):
    """A sign of life at a set moment, as seen by a watchdog that is late itself."""

    def __init__(self, after_s: float, *, given: bool) -> None:
        super().__init__()
        self._after_s = after_s
        if given:
            self._came.set()

    def comes(self, timeout: float) -> bool:
        return self._came.is_set()

    @property
    def after_s(self) -> float:
        return self._after_s


LOOP, UNKNOWN = 7, 0


@pytest.mark.parametrize(
    ("after_s", "given", "loop_cpu_s", "all_cpu_s", "holder"),
    [
        (0.001, True, 0.0, 0.0, None),  # in time
        (5.0, True, 0.0, 0.0, None),  # the process was stopped, and went on
        (5.0, True, 4.9, 4.9, LOOP),  # a computation held the GIL
        (5.0, True, 0.3, 0.3, LOOP),  # it did, with a fraction of a processor
        (5.0, True, 0.0, 4.9, UNKNOWN),  # a computation in another thread did, which went on
        (0.26, False, 0.0, 0.0, LOOP),  # still waiting for something
        (0.26, False, 0.25, 0.25, LOOP),  # still computing
        (5.0, False, 0.0, 0.0, LOOP),  # late to look, and it still blocks
    ],
)
async def test_nobody_is_blamed_when_the_process_got_no_processor(
    monkeypatch: pytest.MonkeyPatch,
    *,
    after_s: float,
    given: bool,
    loop_cpu_s: float,
    all_cpu_s: float,
    holder: int | None,
) -> None:
    loop_readings, all_readings = iter([0.0, loop_cpu_s]), iter([0.0, all_cpu_s])
    monkeypatch.setattr("eventbus.observability.watchdog._cpu_s", lambda _ident: next(loop_readings))
    monkeypatch.setattr("eventbus.observability.watchdog.time.process_time", lambda: next(all_readings))
    watchdog = LoopWatchdog(asyncio.get_running_loop(), 0.25)
    watchdog._ident = LOOP
    assert watchdog._holder(Delayed(after_s, given=given)) == holder


# --- the GIL -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def backtracking() -> str:
    """What a bad pattern takes half a second for, with the GIL held all the while."""
    length, took_s = 16, 0.0
    while took_s < 0.5:
        length += 1
        before = time.process_time()
        _match("a" * length)
        took_s = time.process_time() - before
    return "a" * length


def _match(text: str) -> None:
    assert re.fullmatch(r"(a+)+b", text) is None


@pytest.mark.parametrize("is_sync", [False, True], ids=["async", "sync"])
async def test_a_handler_whose_regex_holds_the_gil_is_named_when_it_lets_go(
    witness: Witness, backtracking: str, is_sync: bool
) -> None:
    def is_asked() -> bool:
        """Is a sign of life asked for, and not given yet? A thread takes the GIL then, or the loop has had its turn before."""
        return (sign := watchdog._sign) is not None and sign._given is None

    def search(_event: Event) -> None:
        end = time.monotonic() + 10 * PATIENCE
        while not witness.blocks and time.monotonic() < end:
            if not is_sync or is_asked():
                _match(backtracking)

    async def search_on_the_loop(event: Event) -> None:
        search(event)

    traceback.format_stack()  # else the watchdog reads the sources of all callers, and waits for the GIL at each read
    bus = InMemoryEventBus()
    bus.subscribe(Blocked, search if is_sync else search_on_the_loop, name="searcher")
    with LoopWatchdog(asyncio.get_running_loop(), THRESHOLD, on_block=witness.note) as watchdog:
        async with bus:
            await bus.publish(Blocked())
            await bus.drain()
    assert (witness.blocks[0].subscription, witness.blocks[0].type) == ("searcher", "watchdog.blocked")
    assert "search" in witness.blocks[0].stack


async def test_a_loop_that_works_hard_and_gives_way_raises_no_alarm(witness: Witness) -> None:
    """Some hundred beats of the watchdog while events flow, sync handlers run and their threads compute."""
    bus = InMemoryEventBus()

    async def compute(_event: Event) -> None:
        sum(range(2_000))

    bus.subscribe("tick", compute)
    bus.subscribe("tick", lambda _event: sum(range(2_000)))
    with LoopWatchdog(bus, 1.0, on_block=witness.note) as watchdog:
        watchdog._pause = 0.002
        async with bus:
            until = time.process_time() + 1.0
            while time.process_time() < until:
                for _ in range(20):
                    await bus.publish("tick")
                await asyncio.sleep(0)
            await bus.drain()
    assert witness.blocks == []


async def test_stop_on_the_loop_is_no_block_of_it(witness: Witness, monkeypatch: pytest.MonkeyPatch) -> None:
    """The loop cannot give the sign that is asked for while it waits for the watchdog: nobody is to blame, and nobody waits."""
    loop, asked = asyncio.get_running_loop(), threading.Event()

    def lose(*_args: object, **_keywords: object) -> None:
        asked.set()

    monkeypatch.setattr(loop, "call_soon_threadsafe", lose)
    watchdog = LoopWatchdog(loop, 1.0, on_block=witness.note)
    watchdog._pause = 0.002
    for _ in range(50):
        watchdog.start()
        asked.wait()
        watchdog.stop()
        asked.clear()
    assert (witness.blocks, watchdog.count) == ([], 0)


def test_watchdog_needs_a_loop() -> None:
    with pytest.raises(BusNotRunning, match="LoopWatchdog"):
        LoopWatchdog(InMemoryEventBus()).start()


def test_threshold_must_be_positive() -> None:
    with pytest.raises(PolicyConflict, match="threshold"):
        LoopWatchdog(None, 0)


def test_nothing_is_left_after_the_loop_closed() -> None:
    async def watch() -> LoopWatchdog:
        return LoopWatchdog(asyncio.get_running_loop(), THRESHOLD).start()

    asyncio.run(watch()).stop()
    assert "eventbus-watchdog" not in [thread.name for thread in threading.enumerate()]


async def sign_of_life(watchdog: LoopWatchdog) -> None:
    """Let the loop turn until the watchdog has seen the end of the block."""
    while not watchdog.blocks[-1].is_over:  # noqa: ASYNC110 - a thread says so, it cannot set an asyncio.Event
        await asyncio.sleep(0)
