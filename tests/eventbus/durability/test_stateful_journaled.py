"""The bus over a journal against a model of plain dicts, with crashes: a crash is the files as they are at that moment, opened anew.

The model knows what was acknowledged, what handlers did, and what was latched. Real files, real loop, no fault but the crash.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections import Counter
from collections.abc import Coroutine
from pathlib import Path
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from eventbus import Event, Halted, IdConflict, InMemoryEventBus, Kind, Receipt, Retry, Subscription
from eventbus.durability.journaled import Journaled
from eventbus.journal.sqlite import SqliteJournal

GROUPS = ("ordered", "several")
MOODS = st.sampled_from(["calm", "calm", "calm", "turn", "once", "fail"])
COSTLY = 25  # a step here takes as long as so many of the model in memory


class Money(Event, type="model.journaled.money", kind=Kind.EXECUTION):
    n: int
    mood: str = "calm"


class Latest(Event, type="model.journaled.latest", retain=True, key="key"):
    n: int
    key: str
    mood: str = "calm"


class JournaledBus(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.loop = asyncio.new_event_loop()
        self.folder = Path(tempfile.mkdtemp(prefix="journaled-model-"))
        self.lives = 0
        self.number = 0
        self.crashes = 0
        self.known: dict[str, Event] = {}  # acknowledged
        self.offsets: dict[str, int] = {}
        self.unknown: dict[str, Event] = {}  # handed in, and not waited for
        self.begun: dict[str, list[str]] = {group: [] for group in GROUPS}  # first attempts, in order
        self.done: dict[str, Counter[str]] = {group: Counter() for group in GROUPS}
        self.failed_once: set[tuple[str, str]] = set()
        self.token: str | None = None
        self.latest: dict[str, int] = {}
        self.errors: list[dict[str, Any]] = []
        self.loop.set_exception_handler(lambda _loop, context: self.errors.append(context))

    def do(self, coroutine: Coroutine[Any, Any, Any]) -> Any:
        async def bounded() -> Any:
            async with asyncio.timeout(60):
                return await coroutine

        return self.loop.run_until_complete(bounded())

    # --- the bus under test ------------------------------------------------------------------------------------------

    @initialize()
    def first_life(self) -> None:
        self.path = self.folder / "0.db"
        self.open()

    def open(self) -> None:
        self.bus = InMemoryEventBus(
            max_queue_size=20,
            grace=0.05,
            seed=1,
            store=Journaled(SqliteJournal(self.path, synchronous="off")),
        )
        self.subscriptions: dict[str, Subscription] = {}
        for group in GROUPS:
            self.subscriptions[group] = self.bus.subscribe(
                "model.*",
                self.handler(group),
                group=group,
                start="beginning",
                concurrency=3 if group == "several" else 1,
                retry=Retry(attempts=60, delay=0, on=(OSError,)),
            )
        self.main: asyncio.Task[None] | None = None

    def handler(self, group: str) -> Any:
        life = self.lives

        async def handle(event: Event) -> None:
            assert life == self.lives, "an attempt of a bus that is gone"
            if event.event_id not in self.begun[group]:
                self.begun[group].append(event.event_id)
            mood = event["mood"]
            if mood == "turn":
                await asyncio.sleep(0)
            if mood == "once" and (group, event.event_id) not in self.failed_once:
                self.failed_once.add((group, event.event_id))
                raise OSError
            if mood == "fail":
                raise ValueError(group)
            self.done[group][event.event_id] += 1

        return handle

    def new(self, mood: str) -> Event:
        self.number += 1
        return Event("model.plain", payload={"n": self.number, "mood": mood})

    def acknowledge(self, receipts: list[Receipt]) -> None:
        for receipt in receipts:
            assert receipt.offset is not None
            assert self.offsets.setdefault(receipt.event_id, receipt.offset) == receipt.offset
            self.known[receipt.event_id] = receipt.event
            self.unknown.pop(receipt.event_id, None)

    @property
    def has_room(self) -> bool:
        """Would a publish not wait for ever? No precondition: that may depend on nothing but the steps taken."""
        return self.main is not None or len(self.unknown) + self.bus.stats().pending < 8

    # --- publishing --------------------------------------------------------------------------------------------------

    @rule(moods=st.lists(MOODS, min_size=1, max_size=6), many=st.booleans())
    def publish(self, moods: list[str], many: bool) -> None:
        if not self.has_room:
            return
        events = [self.new(mood) for mood in moods]
        if many:
            self.acknowledge(self.do(self.bus.publish_many(events)))
        else:

            async def at_once() -> list[Receipt]:
                return await asyncio.gather(*map(self.bus.publish, events))

            self.acknowledge(self.do(at_once()))

    @rule(which=st.integers(0, 99), beside=MOODS)
    def publish_again(self, which: int, beside: str) -> None:
        if not self.known or not self.has_room:
            return
        again = sorted(self.known)[which % len(self.known)]
        if isinstance(self.known[again], Money) and self.token:
            return
        before = self.bus.get_stats()["published"]
        self.acknowledge(self.do(self.bus.publish_many([self.known[again], self.new(beside)])))
        assert self.unknown or self.bus.get_stats()["published"] == before + 1

    @rule(which=st.integers(0, 99))
    def publish_another_under_the_same_id(self, which: int) -> None:
        if not self.known or not self.has_room:
            return
        taken = sorted(self.known)[which % len(self.known)]
        try:
            self.do(self.bus.publish(Event("model.plain", payload={"n": -1, "mood": "calm"}, event_id=taken)))
        except IdConflict:
            return
        raise AssertionError("an id was given twice")

    @rule(mood=MOODS, ticks=st.integers(0, 12), again=st.booleans())
    def cancel_a_publish(self, mood: str, ticks: int, again: bool) -> None:
        if not self.has_room:
            return
        event = self.new(mood)

        async def act() -> list[Receipt]:
            publishing = asyncio.ensure_future(self.bus.publish(event))
            for _ in range(ticks):
                await asyncio.sleep(0)
            publishing.cancel()
            await asyncio.wait([publishing])
            if again:
                return [await self.bus.publish(event)]
            return [] if publishing.cancelled() else [publishing.result()]

        self.unknown[event.event_id] = event
        self.acknowledge(self.do(act()))

    @rule(key=st.sampled_from("ab"))
    def publish_the_latest(self, key: str) -> None:
        if not self.has_room:
            return
        self.number += 1
        self.acknowledge([self.do(self.bus.publish(Latest(n=self.number, key=key)))])
        self.latest[key] = self.number

    @rule()
    def publish_money(self) -> None:
        if not self.has_room:
            return
        self.number += 1
        try:
            receipt = self.do(self.bus.publish(Money(n=self.number)))
        except Halted:
            assert self.token
        else:
            assert not self.token
            self.acknowledge([receipt])

    # --- life --------------------------------------------------------------------------------------------------------

    @rule()
    def run(self) -> None:
        if self.main is None:

            async def start() -> asyncio.Task[None]:
                task = asyncio.ensure_future(self.bus.run_forever())
                for _ in range(3):
                    await asyncio.sleep(0.001)
                return task

            self.main = self.do(start())

    @rule()
    def stop(self) -> None:
        if self.main is not None:
            self.bus.stop()
            self.do(_ended(self.main))
            self.main = None

    @rule(milliseconds=st.integers(0, 3))
    def let_it_work(self, milliseconds: int) -> None:
        self.do(asyncio.sleep(milliseconds / 1000))

    @rule(group=st.sampled_from(GROUPS))
    def pause(self, group: str) -> None:
        self.subscriptions[group].pause()

    @rule(group=st.sampled_from(GROUPS))
    def resume(self, group: str) -> None:
        self.subscriptions[group].resume()

    @rule()
    def halt_or_rearm(self) -> None:
        async def act() -> None:
            if self.token:
                await self.bus.rearm(self.token)
                self.token = None
            else:
                self.token = self.bus.halt("model")
            await self.bus.flush()

        self.do(act())

    @rule()
    def crash(self) -> None:
        """The files as they are, under another name; the old bus goes on with the old ones, to nobody's knowledge."""

        async def leave() -> Path:
            await self.bus.replay_to(lambda _event: None, until=0)
            self.lives += 1
            new = self.folder / f"{self.lives}.db"
            for suffix in ("-mark", "", "-wal"):  # the witness first: it must not know more than the rest
                old = Path(f"{self.path}{suffix}")
                if old.exists():
                    shutil.copyfile(old, f"{new}{suffix}")
            return new

        old, main = self.bus, self.main
        new = self.do(leave())
        self.crashes += 1
        for subscription in self.subscriptions.values():
            subscription.cancel()
        self.close(old, main)
        self.path = new
        self.open()
        self.look_at_what_survived()

    @rule()
    def restart(self) -> None:
        self.close(self.bus, self.main)
        self.lives += 1
        self.open()
        self.look_at_what_survived()

    def close(self, bus: InMemoryEventBus, main: asyncio.Task[None] | None) -> None:
        self.do(bus.shutdown(timeout=0.02))
        if main is not None:
            self.do(_ended(main))

    def look_at_what_survived(self) -> None:
        async def look() -> list[Event]:
            return [event async for event in self.bus.replay()]

        events = self.do(look())
        assert len({event.event_id for event in events}) == len(events)
        offsets = {event.event_id: offset for offset, event in enumerate(events, 1)}
        assert {event_id: offsets.get(event_id) for event_id in self.known} == self.offsets
        assert all(event == self.known.get(event.event_id, self.unknown.get(event.event_id)) for event in events)
        assert self.bus.is_halted == bool(self.token)
        latest = {key: self.bus.last(Latest, key) for key in self.latest}
        assert {key: event and event.n for key, event in latest.items()} == self.latest
        begun = [event_id for event_id in self.begun["ordered"] if event_id in self.known]
        assert begun == sorted(begun, key=self.offsets.__getitem__), "first attempts were out of order"

    # --- what must hold ----------------------------------------------------------------------------------------------

    @rule()
    def drain(self) -> None:
        self.resume("ordered")
        self.resume("several")
        self.run()
        assert self.do(self.bus.drain(60))
        self.look_at_what_survived()
        failed = {event_id for event_id, event in self.known.items() if event["mood"] == "fail"}
        for group in GROUPS:
            assert self.known.keys() - failed <= self.done[group].keys(), "a delivery was forgotten"
            letters = Counter(each.event.event_id for each in self.bus.dead_letters if each.subscription == group)
            assert failed <= letters.keys(), "a dead letter was lost"
            assert set(letters.values()) <= {1}, "a dead letter was doubled"
            repeated = max(self.done[group].values(), default=0)
            assert repeated <= 1 + self.crashes + self.lives, "a delivery was repeated without need"

    @invariant()
    def books_balance(self) -> None:
        for row in self.bus.stats().subscriptions if hasattr(self, "bus") else ():
            ended = row.succeeded + row.dead_lettered + row.dropped + row.expired + row.cancelled
            assert row.accepted == ended + row.pending
            assert row.pending == row.queued + row.in_flight + row.retry_wait
        assert self.errors == []

    def teardown(self) -> None:
        try:
            if hasattr(self, "bus"):
                self.drain()
                self.close(self.bus, self.main)
                assert {task for task in asyncio.all_tasks(self.loop) if not task.done()} == set()
        finally:
            self.loop.close()
            shutil.rmtree(self.folder)


async def _ended(task: asyncio.Task[None]) -> None:
    await asyncio.wait([task], timeout=60)
    assert task.done()


TestJournaledBus = JournaledBus.TestCase
_MODEL = settings.get_profile("model")
TestJournaledBus.settings = settings(
    _MODEL,
    max_examples=max(1, _MODEL.max_examples // COSTLY),
    stateful_step_count=int(os.environ.get("EVENTBUS_JOURNALED_STEPS", "40")),
)
