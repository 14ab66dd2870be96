"""Durable subscriptions: nothing is forgotten over restarts, nothing loops for ever, and nobody waits for who is behind."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import textwrap
from collections.abc import Callable, Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest

from eventbus import (
    Event,
    HopLimit,
    InMemoryEventBus,
    JournalUnavailable,
    Kind,
    OnFailure,
    PolicyConflict,
    Reject,
    Retention,
    Retry,
    RetryLater,
    Status,
    Subscription,
    upcast,
)
from eventbus.durability.journaled import Journaled
from eventbus.journal.protocol import Journal
from eventbus.journal.sqlite import SqliteJournal
from eventbus.journal.values import Append, Trimmed
from eventbus.testing.recorder import Recorder


class StepEvent(Event, type="test.durable.step", version=3, key="lane"):
    """A step, of the third version."""

    lane: str = "a"
    n: int = 0
    note: str = ""


class TickEvent(Event, type="test.durable.tick", kind=Kind.QUOTE, key="symbol"):
    """A quote."""

    symbol: str


@upcast("test.durable.step", 1)
def _one_to_two(fields: dict[str, Any]) -> dict[str, Any]:
    return fields | {"n": fields["n"] * 10}


@upcast("test.durable.step", 2)
def _two_to_three(fields: dict[str, Any]) -> dict[str, Any]:
    return fields | {"note": f"was {fields['n']}"}


def over(journal: Journal, **settings: Any) -> InMemoryEventBus:
    """A bus over a journal of its own kind."""
    kept = {name: settings.pop(name) for name in ("journal_quotes", "retention", "behind") if name in settings}
    return InMemoryEventBus(store=Journaled(journal, **kept), **settings)


def open_bus(path: Path, journal: Journal | None = None, **settings: Any) -> InMemoryEventBus:
    return over(journal or SqliteJournal(path / "run.db"), seed=1, **settings)


def event(number: int, type_: str = "t.x") -> Event:
    return Event(type_, payload={"n": number})


async def written(path: Path, *bodies: bytes) -> None:
    """Records as another program, or another version of this one, might leave them."""
    async with SqliteJournal(path / "run.db") as journal:
        first = journal.last + 1
        await journal.append(
            [
                Append(f"foreign-{first + n}", "test.durable.step", 1, "event", None, 0, None, None, body)
                for n, body in enumerate(bodies)
            ]
        )


# --- over restarts -------------------------------------------------------------------------------------------------


async def test_what_was_pending_goes_on_after_a_restart_in_order(tmp_path: Path) -> None:
    bus, first = open_bus(tmp_path), Recorder()

    async def some(handled: Event) -> None:
        await first(handled)
        if handled["n"] == 40:
            ledger.pause()
            bus.stop()

    ledger = bus.subscribe("t.*", some, durable=True, name="ledger")
    await bus.publish_many([event(n) for n in range(100)])
    await bus.run_forever()
    await bus.shutdown(timeout=0.01)
    assert first.values("n") == list(range(41))
    bus, second = open_bus(tmp_path), Recorder()
    bus.subscribe("t.*", second, durable=True, name="ledger")
    async with bus:
        await bus.publish(event(100))
        assert await bus.drain(60)
    assert second.values("n") == list(range(41, 101))


async def test_a_group_keeps_its_place_under_another_name_and_handler(tmp_path: Path) -> None:
    seen: list[int] = []
    for life in range(4):
        bus, recorder = open_bus(tmp_path), Recorder()
        bus.subscribe("t.*", recorder, group="books", name=f"life {life}")
        async with bus:
            await bus.publish_many([event(life * 10 + n) for n in range(10)])
            assert await bus.drain(60)
        seen += recorder.values("n")
    assert seen == list(range(40))


async def test_groups_are_independent(tmp_path: Path) -> None:
    bus, quick, slow = open_bus(tmp_path), Recorder(), Recorder()
    bus.subscribe("t.*", quick, group="quick")
    held = bus.subscribe("t.*", slow, group="slow")
    async with bus:
        held.pause()
        await bus.publish_many([event(n) for n in range(1_000)])
        await quick.wait(1_000)
        assert len(slow) == 0
        held.resume()
        assert await bus.drain(60)
    assert slow.values("n") == quick.values("n") == list(range(1_000))


@pytest.mark.parametrize(
    ("start", "expected"), [("beginning", [0, 1, 2, 3]), ("end", [3]), (1, [1, 2, 3]), (0, [0, 1, 2, 3]), (3, [3])]
)
async def test_a_new_group_starts_where_it_was_told(tmp_path: Path, start: Any, expected: list[int]) -> None:
    async with open_bus(tmp_path) as bus:
        await bus.publish_many([event(n) for n in range(3)])
    bus, recorder = open_bus(tmp_path), Recorder()
    bus.subscribe("t.*", recorder, durable=True, name="new", start=start)
    async with bus:
        await bus.publish(event(3))
        assert await bus.drain(60)
    assert recorder.values("n") == expected


async def test_a_group_made_on_a_running_bus_misses_nothing_that_follows(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as bus:
        await bus.publish(event(0))
        recorder = Recorder()
        bus.subscribe("t.*", recorder, durable=True, name="late")
        bus.publish_nowait(event(1))
        await bus.publish(event(2))
        assert await bus.drain(60)
    assert recorder.values("n") == [1, 2]


async def test_a_start_that_is_none_is_refused(tmp_path: Path) -> None:
    bus = open_bus(tmp_path)
    for start in ("middle", -1, 2.5):
        with pytest.raises(PolicyConflict):
            bus.subscribe("t.*", Recorder(), durable=True, start=start)  # type: ignore[arg-type] # that is the point
    bus.subscribe("t.*", Recorder(), durable=True, start=10)
    with pytest.raises(ValueError, match="start=10 is not in this journal"):
        await bus.connect()


async def test_what_a_durable_subscription_cannot_have_is_refused(tmp_path: Path) -> None:
    bus = open_bus(tmp_path, journal_quotes=False)
    bus.subscribe("t.*", Recorder(), group="g")
    refused: list[Callable[[], Subscription]] = [
        lambda: bus.subscribe("t.*", Recorder(), group="g"),
        lambda: bus.subscribe("t.*", Recorder(), durable=True, queue_size=5),
        lambda: bus.subscribe("t.*", Recorder(), durable=True, replay_last=True),
        lambda: bus.subscribe(TickEvent, Recorder(), durable=True),
    ]
    for attempt in refused:
        with pytest.raises(PolicyConflict):
            attempt()
    assert bus.get_handler_count() == 1


# --- catching up ---------------------------------------------------------------------------------------------------


async def test_catching_up_hands_over_without_gap_or_duplicate(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as bus:
        await bus.publish_many([event(n) for n in range(3_000)])
        recorder = Recorder()
        bus.subscribe("t.*", recorder, durable=True, name="late", start="beginning")
        chance = random.Random(4)

        async def publisher(name: int) -> None:
            for n in range(100):
                await bus.publish(event(3_000 + name * 100 + n))
                if chance.random() < 0.3:
                    await asyncio.sleep(0)

        async with asyncio.timeout(60):
            await asyncio.gather(*map(publisher, range(8)))
            assert await bus.drain(60)
        order = [each["n"] async for each in bus.replay()]
    assert recorder.values("n") == order
    assert sorted(order) == list(range(3_800))


async def test_who_is_behind_never_blocks_a_publisher(tmp_path: Path) -> None:
    bus = open_bus(tmp_path, max_queue_size=10)
    recorder = Recorder()
    behind = bus.subscribe("t.*", recorder, durable=True, name="behind")
    async with bus, asyncio.timeout(60):
        behind.pause()
        for n in range(500):
            await bus.publish(event(n), timeout=5)
        assert behind.stats().pending <= 256
        behind.resume()
        assert await bus.drain(60)
    assert recorder.values("n") == list(range(500))


async def test_durable_deliveries_have_the_context_and_the_causes_of_their_publisher(tmp_path: Path) -> None:
    bus = open_bus(tmp_path)
    refused: list[type[BaseException]] = []

    async def again(cause: Event) -> None:
        try:
            await bus.publish(event(cause["n"] + 1))
        except HopLimit as error:
            refused.append(type(error))

    bus.subscribe("t.*", again, durable=True, name="circle")
    async with bus:
        root = await bus.publish(event(0))
        assert await bus.drain(60)
        explanation = await bus.explain(root.event_id)
    assert refused == [HopLimit]
    assert len(explanation.descendants) == 32
    assert {each.correlation_id for each in explanation.descendants} == {root.event_id}


async def test_keys_run_in_order_and_beside_each_other(tmp_path: Path) -> None:
    bus = open_bus(tmp_path)
    running: set[str] = set()
    order: dict[str, list[int]] = {}
    beside = 0

    async def handle(step: StepEvent) -> None:
        nonlocal beside
        assert step.lane not in running
        running.add(step.lane)
        beside = max(beside, len(running))
        order.setdefault(step.lane, []).append(step.n)
        await asyncio.sleep(0)
        running.discard(step.lane)

    bus.subscribe(StepEvent, handle, durable=True, name="lanes", concurrency=4)
    async with bus:
        await bus.publish_many([StepEvent(lane="abcd"[n % 4], n=n) for n in range(400)])
        assert await bus.drain(60)
    assert all(steps == sorted(steps) and len(steps) == 100 for steps in order.values())
    assert beside == 4


async def test_cancelled_means_no_attempt_starts_and_the_group_keeps_what_is_pending(tmp_path: Path) -> None:
    bus, first, second = open_bus(tmp_path), Recorder(), Recorder()
    subscription = bus.subscribe("t.*", first, group="g")
    async with bus:
        subscription.pause()
        receipt = await bus.publish(event(0))
        await bus.publish_many([event(n) for n in range(1, 400)])
        await subscription.cancel()
        assert [outcome.status for outcome in await receipt] == [Status.CANCELLED]
        assert len(first) == 0
        bus.subscribe("t.*", second, group="g")
        assert await bus.drain(60)
    assert len(first) == 0
    assert second.values("n") == list(range(400))


async def test_what_shutdown_leaves_undone_stays_pending(tmp_path: Path) -> None:
    bus = open_bus(tmp_path, grace=0.05)
    started = asyncio.Event()

    async def hang(_event: Event) -> None:
        started.set()
        await asyncio.Event().wait()

    bus.subscribe("t.*", hang, durable=True, name="ledger")
    await bus.connect()
    receipt = await bus.publish(event(1))
    waiting = asyncio.ensure_future(bus.publish_and_wait(event(2)))
    await started.wait()
    report = await bus.shutdown(timeout=0.05)
    assert not report.drained
    async with asyncio.timeout(60):
        await receipt
        await waiting
    bus, recorder = open_bus(tmp_path), Recorder()
    bus.subscribe("t.*", recorder, durable=True, name="ledger")
    async with bus:
        assert await bus.drain(60)
    assert recorder.values("n") == [1, 2]


class HeldJournal(SqliteJournal):
    """Its commits of outcomes wait until they may go on."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.may_commit = asyncio.Event()

    async def commit(self, *arguments: Any, **more: Any) -> int:
        await self.may_commit.wait()
        return await super().commit(*arguments, **more)


async def test_no_more_begins_than_a_crash_may_repeat_while_a_commit_takes_its_time(tmp_path: Path) -> None:
    journal, recorder = HeldJournal(tmp_path / "run.db"), Recorder()
    bus = over(journal)
    bus.subscribe("t.*", recorder, durable=True, name="ledger")
    async with bus:
        await bus.publish_many(list(map(event, range(1_000))))
        while len(recorder) < 256:
            await journal.read(0, 1)
        for _ in range(50):
            await journal.read(0, 1)
        began = len(recorder)
        journal.may_commit.set()
        assert await bus.drain(60)
    assert began == 256
    assert recorder.values("n") == list(range(1_000))


async def test_who_comes_after_a_cancelled_subscription_waits_for_what_it_has_not_committed(tmp_path: Path) -> None:
    journal, first, second = HeldJournal(tmp_path / "run.db"), Recorder(), Recorder()
    bus = over(journal)
    subscription = bus.subscribe("t.*", first, group="ledger")
    async with bus:
        await bus.publish_many(list(map(event, range(10))))
        while len(first) < 10:
            await journal.read(0, 1)
        await subscription.cancel()
        bus.subscribe("t.*", second, group="ledger")
        await bus.publish(event(10))
        for _ in range(20):
            await journal.read(0, 1)
        journal.may_commit.set()
        assert await bus.drain(60)
    assert first.values("n") + second.values("n") == list(range(11))


class CountsLate(SqliteJournal):
    """Attempts are counted when the test allows it."""

    def __init__(self, path: Path) -> None:
        super().__init__(path)
        self.counts, self.may_count = asyncio.Event(), asyncio.Event()

    async def record_attempts(self, group: str, offsets: Sequence[int]) -> Mapping[int, int]:
        self.counts.set()
        await self.may_count.wait()
        return await super().record_attempts(group, offsets)


async def test_who_comes_after_one_whose_attempts_are_being_counted_handles_them(tmp_path: Path) -> None:
    """And the loop goes on meanwhile: whoever waits for their end gives way."""
    journal, first, second = CountsLate(tmp_path / "run.db"), Recorder(), Recorder()
    bus = over(journal)
    subscription = bus.subscribe("t.*", first, group="ledger")
    async with bus:
        await bus.publish(event(0))
        await journal.counts.wait()
        await subscription.cancel()
        bus.subscribe("t.*", second, group="ledger")
        for _ in range(20):
            await journal.read(0, 1)
        journal.may_count.set()
        assert await bus.drain(60)
    assert (first.values("n"), second.values("n")) == ([], [0])


async def test_what_a_cancelled_subscription_handled_is_committed_at_shutdown(tmp_path: Path) -> None:
    journal, first, second = HeldJournal(tmp_path / "run.db"), Recorder(), Recorder()
    bus = over(journal)
    subscription = bus.subscribe("t.*", first, group="ledger")
    await bus.connect()
    await bus.publish_many(list(map(event, range(10))))
    while len(first) < 10:
        await journal.read(0, 1)
    await subscription.cancel()
    ending = asyncio.create_task(bus.shutdown())
    journal.may_commit.set()
    await ending
    bus = open_bus(tmp_path)
    bus.subscribe("t.*", second, group="ledger")
    async with bus:
        assert await bus.drain(60)
    assert len(second) == 0


# --- failures ------------------------------------------------------------------------------------------------------


async def test_retries_are_counted_in_the_journal_before_they_start(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "run.db")
    bus = open_bus(tmp_path, journal)
    counted: list[int] = []

    async def fail(_event: Event) -> None:
        cursor = await journal.committed("ledger")
        assert cursor is not None
        counted.append(cursor.attempts[1])
        raise OSError

    bus.subscribe("t.*", fail, durable=True, name="ledger", retry=Retry(attempts=4, delay=0))
    async with bus:
        await bus.publish(event(1))
        assert await bus.drain(60)
        assert next(iter(bus.dead_letters)).attempts == 4
    assert counted == [1, 2, 3, 4]


async def test_rejected_dropped_and_expired_are_settled_for_good(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "run.db")
    bus = open_bus(tmp_path, journal)

    def reject(_event: Event) -> None:
        raise Reject("never")

    def later(handled: Event) -> None:
        raise RetryLater(after=0) if handled["n"] < 3 else OSError

    bus.subscribe("t.*", reject, group="reject")
    bus.subscribe("t.*", later, group="drop", on_failure=OnFailure.DROP)
    held = bus.subscribe("t.*", Recorder(), group="expire", max_age=0.001)
    async with bus:
        held.pause()
        await bus.publish_many([event(n) for n in range(5)])
        await asyncio.sleep(0.01)
        held.resume()
        assert await bus.drain(60)
        cursors = {name: await journal.committed(name) for name in ("reject", "drop", "expire")}
    totals = {name: dict(cursor.totals) for name, cursor in cursors.items() if cursor}
    assert totals == {"reject": {"dead_lettered": 5}, "drop": {"dropped": 5}, "expire": {"expired": 5}}
    assert {cursor.floor for cursor in cursors.values() if cursor} == {5}


async def test_a_predicate_that_raises_makes_a_dead_letter_of_its_event_alone(tmp_path: Path) -> None:
    bus, recorder = open_bus(tmp_path), Recorder()
    bus.subscribe("t.*", recorder, durable=True, name="picky", where=lambda each: 10 / (each["n"] - 2) < 100)
    async with bus:
        receipts = await bus.publish_many([event(n) for n in range(5)])
        outcomes = [await receipt for receipt in receipts]
        assert await bus.drain(60)
        assert [letter.event["n"] for letter in bus.dead_letters] == [2]
    assert recorder.values("n") == [0, 1, 3, 4]
    assert [each[0].status for each in outcomes].count(Status.DEAD_LETTERED) == 1


async def test_a_journal_that_fails_for_a_while_costs_nothing_but_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("eventbus.durability.trouble._FIRST_S", 0.001)
    monkeypatch.setattr("eventbus.durability.trouble._LONGEST_S", 0.001)
    chance = random.Random(3)

    class Shaky(SqliteJournal):
        shakes = True

        def __getattribute__(self, name: str) -> Any:
            if name in ("read", "record_attempts", "commit") and Shaky.shakes and chance.random() < 0.5:
                return self.fail
            return super().__getattribute__(name)

        async def fail(self, *_args: Any, **_options: Any) -> Any:
            raise JournalUnavailable("run.db", "the disk is full")

    bus, recorder = over(Shaky(tmp_path / "run.db")), Recorder()
    flaky = Recorder(lambda each: chance.random() < 0.3 and 1 / 0)
    bus.subscribe("t.*", recorder, group="steady")
    bus.subscribe("t.*", flaky, group="flaky", retry=Retry(attempts=50, delay=0))
    async with bus, asyncio.timeout(60):
        await bus.publish_many([event(n) for n in range(600)])
        assert await bus.drain(60)
        assert bus.get_stats()["pending"] == 0
        Shaky.shakes = False
    assert recorder.values("n") == list(range(600))
    assert list(dict.fromkeys(flaky.values("n"))) == list(range(600))


class TrimmedJournal(SqliteJournal):
    """It counts how often retention looked at it."""

    trims = 0

    async def trim(self, **bounds: Any) -> Trimmed:
        trimmed = await super().trim(**bounds)
        self.trims += 1
        return trimmed

    async def trimmed(self, times: int) -> None:
        until = self.trims + times
        while self.trims < until:
            await self.values("nothing")


async def test_a_running_bus_keeps_its_journal_within_bounds_but_keeps_what_is_not_handled(tmp_path: Path) -> None:
    long_ago = datetime(2020, 1, 1, tzinfo=UTC)
    journal, may_go_on = TrimmedJournal(tmp_path / "run.db"), asyncio.Event()
    bus = over(journal, retention=Retention(max_age=3_600, every=0.001))

    async def handle(_event: Event) -> None:
        await may_go_on.wait()

    bus.subscribe("t.*", handle, group="slow")
    async with bus:
        for n in range(3):
            await bus.publish(Event("t.x", payload={"n": n}, timestamp=long_ago))
        await bus.publish(event(3))
        await journal.trimmed(3)
        assert journal.first == 1
        may_go_on.set()
        assert await bus.drain(60)
        await journal.trimmed(3)
        assert [each["n"] async for each in bus.replay()] == [3]


@pytest.mark.parametrize("bounds", [{"max_age": 0}, {"max_bytes": -1}, {"every": 0}, {"max_age": "1d"}])
def test_bounds_that_are_none_are_refused(bounds: dict[str, Any]) -> None:
    with pytest.raises(PolicyConflict, match=next(iter(bounds))):
        Retention(**bounds)


async def test_retention_stops_at_the_slowest_group_and_forced_beyond_it_is_told(tmp_path: Path) -> None:
    journal = SqliteJournal(tmp_path / "run.db")
    async with open_bus(tmp_path, journal) as bus:
        recorder = Recorder()
        slow = bus.subscribe("t.*", recorder, group="slow")
        await bus.publish_many([event(n) for n in range(50)])
        await bus.drain(60)
        slow.pause()
        for first in range(50, 700, 50):  # retention removes whole commits: these are thirteen
            await bus.publish_many([event(n) for n in range(first, first + 50)])
        await bus.publish(event(700))
        trimmed = await journal.trim(before=600)
        assert trimmed.removed == 50
        assert trimmed.overtaken == ()
        trimmed = await journal.trim(before=600, force=True)
        assert trimmed.overtaken == ("slow",)
        slow.resume()
        assert await bus.drain(60)
        cursor = await journal.committed("slow")
    assert cursor is not None
    assert cursor.floor == 701
    seen = recorder.values("n")
    assert seen == sorted(set(seen))
    assert seen[-100:] == list(range(601, 701))


# --- what cannot be read -------------------------------------------------------------------------------------------


def step(version: int, fields: str) -> bytes:
    return b'{"type":"test.durable.step","version":%d,"event":{%s}}' % (version, fields.encode())


async def test_what_cannot_be_read_is_quarantined_once_and_the_rest_goes_on(tmp_path: Path) -> None:
    bad = [step(99, '"n":1'), step(3, '"n":"many"'), step(3, '"surprise":1'), b"\xff\x00", b"", step(3, '"n":1')[:-3]]
    async with open_bus(tmp_path) as bus:
        bus.subscribe("*", Recorder(), group="one")
        bus.subscribe("*", Recorder(), group="two")
    await written(tmp_path, step(3, '"n":1'), *bad, step(3, '"n":2'))
    for life in range(2):
        journal, one, two = SqliteJournal(tmp_path / "run.db"), Recorder(), Recorder()
        store = Journaled(journal)
        bus = InMemoryEventBus(store=store)
        bus.subscribe("*", one, group="one")
        bus.subscribe("*", two, group="two")
        async with bus:
            assert await bus.drain(60)
            assert [each["n"] async for each in bus.replay()] == [1, 2]
            kept = await journal.quarantined()
        assert one.values("n") == two.values("n") == ([] if life else [1, 2])
        assert [item.raw for item in kept] == bad
        assert [item.offset for item in kept] == [2, 3, 4, 5, 6, 7]
        assert store.quarantined == (0 if life else len(bad))


async def test_older_versions_are_brought_up_step_by_step(tmp_path: Path) -> None:
    await written(tmp_path, step(1, '"n":1'), step(2, '"n":2'), step(3, '"n":3,"note":"new"'))
    bus, recorder = open_bus(tmp_path), Recorder()
    bus.subscribe(StepEvent, recorder, durable=True, name="steps", start="beginning")
    async with bus:
        assert await bus.drain(60)
    assert [(each.n, each.note) for each in recorder.of(StepEvent)] == [(10, "was 10"), (2, "was 2"), (3, "new")]


async def test_events_whose_class_is_gone_reach_strings_and_wildcards(tmp_path: Path) -> None:
    await written(tmp_path, b'{"type":"gone.away","version":4,"event":{"event_id":"e1","n":7}}')
    bus, wild, exact, typed = open_bus(tmp_path), Recorder(), Recorder(), Recorder()
    bus.subscribe("gone.*", wild, group="wild", start="beginning")
    bus.subscribe("gone.away", exact, group="exact", start="beginning")
    bus.subscribe(StepEvent, typed, group="typed", start="beginning")
    async with bus:
        assert await bus.drain(60)
    assert wild.payloads == exact.payloads == [{"n": 7}]
    assert len(typed) == 0


# --- poison --------------------------------------------------------------------------------------------------------

POISONED = textwrap.dedent("""
    import asyncio, os, sys
    from eventbus import Retry, create_event_bus

    async def handle(event):
        print("started", event["n"], flush=True)
        if event["n"] == 3:
            os._exit(9)

    async def main(path, attempts):
        bus = create_event_bus("sqlite:///" + path)
        bus.subscribe("t.*", handle, durable=True, name="ledger",
                      retry=Retry(attempts=attempts) if attempts else None)
        if not os.path.exists(path):
            for n in range(6):
                await bus.publish("t.x", {"n": n})
        async with bus:
            await bus.drain()
            print("dead", [(letter.event["n"], letter.attempts) for letter in bus.dead_letters], flush=True)

    asyncio.run(main(sys.argv[1], int(sys.argv[2])))
""")


@pytest.mark.parametrize(
    ("policy", "limit"),
    [pytest.param(0, 10, marks=pytest.mark.long), pytest.param(2, 2, marks=pytest.mark.slow), (3, 3), (1, 1)],
)
def test_an_event_that_kills_the_process_is_dead_lettered_at_the_limit(tmp_path: Path, policy: int, limit: int) -> None:
    lines: list[str] = []
    for _ in range(limit + 1):
        child = subprocess.run(
            [sys.executable, "-c", POISONED, str(tmp_path / "run.db"), str(policy)],
            capture_output=True,
            text=True,
            check=False,
            timeout=120,
            env=os.environ,
        )
        lines += child.stdout.splitlines()
        if child.returncode == 0:
            break
        assert child.returncode == 9, child.stderr
    assert lines.count("started 3") == limit
    assert lines[-1] == f"dead [(3, {limit})]"
    assert {f"started {n}" for n in range(6)} <= set(lines)
    assert all(lines.count(f"started {n}") <= 2 for n in (0, 1, 2, 4, 5))
