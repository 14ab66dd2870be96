"""What a bus does with signals, forks, leftovers, odd values, global instances and foreign task factories.

Each case was a fault that somebody met. A marked one is not mended yet; its reason is the row of the list of faults. Types have
a module of their own, and so has work that must not grow faster than what there is to do.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
import signal
import subprocess
import sys
import textwrap
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

import eventbus
from eventbus import CodecError, Event, InMemoryEventBus, Outcome, PolicyConflict, Retry, Status, create_event_bus
from eventbus.observability import MetricsCollector
from eventbus.testing import Recorder, VirtualClock, settle

face: Any = eventbus  # for names that are promised and not there yet


class Told(Event, type="found.told"):
    """Something was told."""

    n: int = 0


class Nested(Event, type="found.nested"):
    """A payload that may hold anything."""

    data: dict[str, Any]


async def ignore(_event: Event) -> None:
    """A handler for whom everything is well."""


def warnings_in(caplog: pytest.LogCaptureFixture) -> list[str]:
    """What the bus told at warning or above, as a plain log would show it."""
    told = [r for r in caplog.records if r.levelno >= logging.WARNING and r.name.partition(".")[0] == "eventbus"]
    return [record.getMessage() for record in told]


# --- R13: a signal handler that publishes ----------------------------------------------------------------------------


@contextlib.contextmanager
def signal_at(step: int, act: Callable[[], None]) -> Iterator[list[int]]:
    """Let a signal arrive before the bytecode number `step` that the bus executes; counts them. `act` is the signal handler."""
    count = [0]

    def trace(frame: FrameType, kind: str, _argument: object) -> Any:
        module = str(frame.f_globals.get("__name__", ""))
        if not module.startswith("eventbus.") or module.startswith("eventbus.testing"):
            return None
        frame.f_trace_opcodes = True
        if kind == "opcode":
            count[0] += 1
            if count[0] == step:
                signal.raise_signal(signal.SIGUSR1)
        return trace

    handler, tracer = signal.signal(signal.SIGUSR1, lambda _number, _frame: act()), sys.gettrace()
    sys.settrace(trace)
    try:
        yield count
    finally:
        sys.settrace(tracer)
        signal.signal(signal.SIGUSR1, handler)


async def several(bus: InMemoryEventBus) -> None:
    await bus.publish(Told(n=1))
    await bus.publish(Told(n=2))


async def without_waiting(bus: InMemoryEventBus) -> None:
    bus.publish_nowait(Told(n=1))
    bus.publish_nowait("found.adhoc")


async def many(bus: InMemoryEventBus) -> None:
    await bus.publish_many([Told(n=1), Told(n=2)])


async def and_wait(bus: InMemoryEventBus) -> None:
    await bus.publish_and_wait(Told(n=1))


async def dispatched(bus: InMemoryEventBus) -> None:
    bus.publish_nowait(Told(n=1))
    bus.publish_nowait("found.adhoc")
    await settle()


WHILE_PUBLISHING = [several, without_waiting, many, and_wait, dispatched]


async def interrupted(
    work: Callable[[InMemoryEventBus], Awaitable[None]], step: int, publish: Callable[[InMemoryEventBus], object]
) -> tuple[int, list[object]]:
    """Let a signal handler publish in the middle of `work`; the bus must be whole afterwards, whatever came of it.

    Gives the number of bytecodes that the bus executed, and what the call in the signal handler gave or raised; nothing when
    the signal did not come, for the number varies a little.
    """
    bus, heard, answers = InMemoryEventBus(), Recorder(), list[object]()
    bus.subscribe("found.*", heard)

    def handle_signal() -> None:
        try:
            answers.append(publish(bus))
        except Exception as error:  # noqa: BLE001 - whatever it is, it is the answer
            answers.append(error)

    try:
        await bus.connect()
        await bus.publish(Told(n=0))
        with signal_at(step, handle_signal) as count:
            await work(bus)
        await settle()
        assert await bus.drain(timeout=60), f"never drained after a signal before bytecode {step}"
        stats = bus.stats()
        accepted = [answer for answer in answers if not isinstance(answer, Exception)]
        assert (stats.pending, stats.queue_size, stats.in_flight) == (0, 0, 0), f"signal before bytecode {step}"
        assert heard.types.count("found.signalled") == len(accepted), f"signal before bytecode {step}"
        assert stats.published == stats.succeeded == len(heard), f"signal before bytecode {step}"
    finally:
        await bus.shutdown(timeout=1)
    return count[0], answers


@pytest.mark.virtual_time
@pytest.mark.parametrize("work", WHILE_PUBLISHING, ids=lambda work: work.__name__)
async def test_a_publish_in_a_signal_handler_is_refused_or_whole_before_whatever_bytecode_it_comes(
    work: Callable[[InMemoryEventBus], Awaitable[None]],
) -> None:
    def publish(bus: InMemoryEventBus) -> object:
        return bus.publish_nowait("found.signalled")

    steps, _ = await interrupted(work, 0, publish)
    answers: list[object] = []
    for step in range(1, steps, max(1, steps // 400)):
        answers += (await interrupted(work, step, publish))[1]
    refused = [answer for answer in answers if isinstance(answer, Exception)]
    assert refused, "no bytecode of the bus is one at which nobody may enter"
    assert {type(answer) for answer in refused} == {face.ReentrantPublish}


@pytest.mark.virtual_time
async def test_the_refusal_in_a_signal_handler_names_what_to_use_there() -> None:
    steps, _ = await interrupted(without_waiting, 0, lambda bus: None)
    for step in range(1, steps):
        _, answers = await interrupted(without_waiting, step, lambda bus: bus.publish_nowait("found.signalled"))
        for error in answers:
            if isinstance(error, Exception):
                assert isinstance(error, face.ReentrantPublish)
                assert isinstance(error, eventbus.UsageError)
                assert "add_signal_handler" in str(error)
                assert "publish_threadsafe" in str(error)
                return
    pytest.fail("never refused")


@pytest.mark.virtual_time
@pytest.mark.parametrize("work", WHILE_PUBLISHING, ids=lambda work: work.__name__)
async def test_publish_threadsafe_in_a_signal_handler_is_accepted_before_whatever_bytecode_it_comes(
    work: Callable[[InMemoryEventBus], Awaitable[None]],
) -> None:
    def publish(bus: InMemoryEventBus) -> object:
        return bus.publish_threadsafe("found.signalled")

    steps, _ = await interrupted(work, 0, publish)
    answers: list[object] = []
    for step in range(1, steps, max(1, steps // 100)):
        answers += (await interrupted(work, step, publish))[1]
    assert len(answers) > 10
    assert [answer for answer in answers if isinstance(answer, Exception)] == []


# --- R14: fork -------------------------------------------------------------------------------------------------------

FORKING = """
import asyncio, os, sys
import eventbus
from eventbus import Event, InMemoryEventBus, create_event_bus

async def ignore(event):
    pass

async def bounded(awaitable):
    async with asyncio.timeout(60):
        return await awaitable

def child(act):
    reader, writer = os.pipe()
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        try:
            answer = repr(act())
        except BaseException as error:
            answer = type(error).__name__
        os.write(writer, answer.encode())
        os._exit(0)
    os.close(writer)
    with os.fdopen(reader) as lines:
        print(lines.read())
    os.waitpid(pid, 0)
"""

USES = {
    "publish_nowait": "bus.publish_nowait('found.forked')",
    "publish": "asyncio.run(bounded(bus.publish('found.forked')))",
    "publish_many": "asyncio.run(bounded(bus.publish_many([Event('found.forked')])))",
    "publish_threadsafe": "bus.publish_threadsafe('found.forked')",
    "publish_and_wait": "asyncio.run(bounded(bus.publish_and_wait('found.forked')))",
    "request": "asyncio.run(bounded(bus.request('found.forked')))",
    "drain": "asyncio.run(bounded(bus.drain()))",
    "connect": "asyncio.run(bounded(bus.connect()))",
    "run_forever": "asyncio.run(bounded(bus.run_forever()))",
}


def forked(program: str) -> str:
    """What the child of a program printed; each runs in a process of its own, which has no other threads."""
    done = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", FORKING + textwrap.dedent(program)],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize("use", USES)
def test_a_bus_that_runs_is_refused_in_the_child(use: str) -> None:
    program = f"""
    async def main():
        bus = InMemoryEventBus()
        bus.subscribe("found.*", ignore)
        async with bus:
            await bus.publish_and_wait("found.before")
            child(lambda: {USES[use]})
    asyncio.run(main())
    """
    assert forked(program) == "WrongProcess"


@pytest.mark.parametrize("use", USES)
def test_a_bus_that_ran_and_stopped_is_refused_in_the_child(use: str) -> None:
    program = f"""
    bus = InMemoryEventBus()
    bus.subscribe("found.*", ignore)
    async def main():
        running = asyncio.create_task(bus.run_forever())
        await asyncio.sleep(0)
        await bus.publish_and_wait("found.before")
        bus.stop()
        await running
    asyncio.run(main())
    child(lambda: {USES[use]})
    """
    assert forked(program) == "WrongProcess"


@pytest.mark.parametrize("use", ["publish_nowait", "publish", "publish_threadsafe", "drain"])
@pytest.mark.parametrize("url", ["sqlite:///run.db", "sqlite:///run.db?write_behind=true"])
def test_a_bus_over_a_journal_that_runs_is_refused_in_the_child(
    use: str, url: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path.cwd()))
    monkeypatch.chdir(tmp_path)
    program = f"""
    async def main():
        bus = create_event_bus({url!r})
        async with bus:
            await bus.publish("found.before")
            child(lambda: {USES[use]})
    asyncio.run(main())
    """
    assert forked(program) == "WrongProcess"


@pytest.mark.parametrize("handler", ["lambda event: seen.append(event.type)", "hear"], ids=["sync", "async"])
def test_a_bus_that_never_ran_may_be_used_in_the_child(handler: str) -> None:
    program = f"""
    seen = []
    async def hear(event):
        seen.append(event.type)
    bus = InMemoryEventBus()
    bus.subscribe("found.*", {handler})
    bus.publish_nowait("found.before")
    async def use():
        async with bus:
            await bounded(bus.publish("found.after"))
        return seen
    child(lambda: asyncio.run(use()))
    """
    assert forked(program) == "['found.before', 'found.after']"


def test_the_parent_goes_on_after_a_fork() -> None:
    program = """
    async def main():
        bus, seen = InMemoryEventBus(), []
        bus.subscribe("found.*", lambda event: seen.append(event.type))
        async with bus:
            await bus.publish_and_wait("found.before")
            child(lambda: "nothing")
            assert await bounded(bus.publish_and_wait("found.after")) == []
        print(seen)
    asyncio.run(main())
    """
    assert forked(program).splitlines() == ["'nothing'", "['found.before', 'found.after']"]


def test_the_default_bus_of_a_child_is_another_one() -> None:
    program = """
    async def main():
        await eventbus.default_bus().publish_and_wait("found.before")
    asyncio.run(main())
    mine = eventbus.default_bus()
    async def use():
        bus, seen = eventbus.default_bus(), []
        async def hear(event):
            seen.append(event.type)
        bus.subscribe("found.*", hear)
        await bounded(bus.publish_and_wait("found.after"))
        return bus is mine, seen
    child(lambda: asyncio.run(use()))
    """
    assert forked(program) == "(False, ['found.after'])"


# --- R15: what remains is told ---------------------------------------------------------------------------------------


async def test_shutdown_with_something_left_tells_once_how_many_and_whose(
    virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    bus = InMemoryEventBus(clock=virtual_clock)
    bus.subscribe(Told, ignore, name="ledger").pause()
    await bus.connect()
    await bus.publish_many([Told(n=n) for n in range(4)])
    report = await bus.shutdown(timeout=1)
    assert report.left == 4
    (told,) = warnings_in(caplog)
    assert "4" in told
    assert "ledger" in told


async def test_leaving_the_bus_with_something_left_tells_once_how_many_and_whose(
    virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with InMemoryEventBus(clock=virtual_clock) as bus:
        bus.subscribe(Told, ignore, name="ledger").pause()
        bus.subscribe(Told, ignore, name="healthy")
        await bus.publish_many([Told(n=n) for n in range(4)])
    (told,) = warnings_in(caplog)
    assert "4" in told
    assert "ledger" in told
    assert "healthy" not in told


async def test_every_subscription_with_something_left_is_named_in_one_warning(
    virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with InMemoryEventBus(clock=virtual_clock) as bus:
        bus.subscribe(Told, ignore, name="ledger").pause()
        bus.subscribe("found.*", ignore, name="mirror").pause()
        await bus.publish_many([Told(n=n) for n in range(3)])
    (told,) = warnings_in(caplog)
    assert "ledger" in told
    assert "mirror" in told


async def test_a_bus_that_nobody_started_tells_once_that_it_is_full(
    virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    bus = InMemoryEventBus(17, clock=virtual_clock)
    bus.subscribe(Told, ignore, name="ledger")
    for n in range(17):
        await bus.publish(Told(n=n))
    for _ in range(3):
        with pytest.raises(eventbus.PublishTimeout):
            await bus.publish(Told(), timeout=1)
    (told,) = warnings_in(caplog)
    assert "17" in told
    assert "started" in told


async def test_a_bus_that_nobody_started_tells_when_it_ends_what_it_accepted(
    virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    bus = InMemoryEventBus(clock=virtual_clock)
    bus.subscribe(Told, ignore, name="ledger")
    await bus.publish_many([Told(n=n) for n in range(17)])
    await bus.shutdown(timeout=1)
    (told,) = warnings_in(caplog)
    assert "17" in told


async def test_a_bus_that_ends_with_nothing_left_says_nothing(
    virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    async with InMemoryEventBus(clock=virtual_clock) as bus:
        bus.subscribe(Told, ignore)
        await bus.publish_many([Told(n=n) for n in range(4)])
    await InMemoryEventBus(clock=virtual_clock).shutdown(timeout=1)
    assert warnings_in(caplog) == []


# --- R16: the delay that was asked for -------------------------------------------------------------------------------


async def attempts_at(retry: Retry, clock: VirtualClock) -> list[float]:
    """When the attempts of a delivery began that fails each time."""
    bus, times = InMemoryEventBus(clock=clock), list[float]()

    async def fail(_event: Event) -> None:
        times.append(clock.time())
        raise OSError

    bus.subscribe(Told, fail, retry=retry)
    async with bus:
        await bus.publish(Told())
        assert await bus.drain(timeout=100_000)
    return [time - times[0] for time in times]


async def test_a_delay_of_a_minute_is_waited_for_a_minute(virtual_clock: VirtualClock) -> None:
    times = await attempts_at(Retry(attempts=2, delay=60, jitter=False), virtual_clock)
    assert times == pytest.approx([0, 60])


async def test_a_short_delay_still_grows_no_longer_than_half_a_minute(virtual_clock: VirtualClock) -> None:
    times = await attempts_at(Retry(attempts=4, delay=1, factor=10, jitter=False), virtual_clock)
    assert times == pytest.approx([0, 1, 11, 41])


def test_a_cap_below_the_delay_is_refused() -> None:
    with pytest.raises(PolicyConflict, match="max_delay"):
        Retry(delay=60, max_delay=30)


async def test_a_cap_that_is_the_delay_is_kept(virtual_clock: VirtualClock) -> None:
    times = await attempts_at(Retry(attempts=3, delay=60, max_delay=60, jitter=False), virtual_clock)
    assert times == pytest.approx([0, 60, 120])


# --- R18: values that are odd ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("make", [Told, lambda **header: Event("found.adhoc", **header)], ids=["typed", "ad-hoc"])
class TestHeaderOfNone:
    """None in the header is the same as leaving it out."""

    def test_source(self, make: Callable[..., Event]) -> None:
        assert make(source=None).source == ""

    def test_correlation_id(self, make: Callable[..., Event]) -> None:
        event = make(correlation_id=None)
        assert event.correlation_id == event.event_id

    async def test_correlation_id_of_an_effect(self, make: Callable[..., Event], event_bus: InMemoryEventBus) -> None:
        effects = Recorder()

        async def publish(_event: Event) -> None:
            await event_bus.publish(make(correlation_id=None))

        event_bus.subscribe("found.cause", publish)
        event_bus.subscribe(make().type, effects)
        cause = Event("found.cause")
        await event_bus.publish(cause)
        assert await event_bus.drain(timeout=60)
        assert [effect.correlation_id for effect in effects] == [cause.event_id]

    def test_causation_id(self, make: Callable[..., Event]) -> None:
        assert make(causation_id=None).causation_id is None

    async def test_causation_id_of_an_effect(self, make: Callable[..., Event], event_bus: InMemoryEventBus) -> None:
        effects = Recorder()

        async def publish(_event: Event) -> None:
            await event_bus.publish(make())

        event_bus.subscribe("found.cause", publish)
        event_bus.subscribe(make().type, effects)
        cause = Event("found.cause")
        await event_bus.publish(cause)
        assert await event_bus.drain(timeout=60)
        assert [effect.causation_id for effect in effects] == [cause.event_id]


class Unprintable(Exception):
    """Its text cannot be had."""

    def __str__(self) -> str:
        raise ValueError("no text for you")

    __repr__ = __str__


@pytest.mark.parametrize("show", [str, repr, "{}".format])
def test_an_outcome_whose_error_cannot_be_printed_prints(show: Callable[[object], str]) -> None:
    text = show(Outcome("ledger", Status.DEAD_LETTERED, error=Unprintable()))
    assert "ledger" in text
    assert "Unprintable" in text


class Circle:
    """Containers that contain themselves."""

    @staticmethod
    def of_dicts() -> dict[str, Any]:
        circle: dict[str, Any] = {}
        circle["around"] = {"again": circle}
        return circle

    @staticmethod
    def of_lists() -> dict[str, Any]:
        circle: list[Any] = []
        circle.append([circle])
        return {"around": circle}


@pytest.mark.parametrize("circle", [Circle.of_dicts, Circle.of_lists])
class TestCycles:
    """A payload that contains itself is refused where the event is made, with the path."""

    def test_in_an_ad_hoc_payload(self, circle: Callable[[], dict[str, Any]]) -> None:
        with pytest.raises(CodecError, match=r"payload.*around"):
            Event("found.circle", payload=circle())

    def test_in_a_typed_field(self, circle: Callable[[], dict[str, Any]]) -> None:
        with pytest.raises(CodecError, match=r"data.*around"):
            Nested(data=circle())

    def test_in_metadata(self, circle: Callable[[], dict[str, Any]]) -> None:
        with pytest.raises(CodecError, match=r"metadata.*around"):
            Told(metadata=circle())


@pytest.mark.parametrize(
    ("argument", "value"),
    [
        ("max_queue_size", "10"),
        ("max_queue_size", True),
        ("max_queue_size", 1.5),
        ("max_queue_size", math.nan),
        ("max_queue_size", math.inf),
        ("max_queue_size", 0),
        ("max_queue_size", -1),
        ("max_workers", "4"),
        ("max_workers", True),
        ("max_workers", 1.5),
        ("max_workers", 0),
        ("max_bytes", "1000"),
        ("max_bytes", math.nan),
        ("max_bytes", -1),
        ("reserve", "10"),
        ("reserve", -1),
        ("reserve", 1.5),
        ("history", "10"),
        ("history", -1),
        ("history", 1.5),
        ("grace", "1"),
        ("grace", -1.0),
        ("grace", math.nan),
        ("grace", math.inf),
        ("name", 5),
        ("identify", "uuid"),
    ],
)
def test_a_setting_of_the_wrong_type_or_range_is_refused_by_name(argument: str, value: Any) -> None:
    settings: dict[str, Any] = {argument: value}
    with pytest.raises(PolicyConflict, match=argument):
        InMemoryEventBus(**settings)


def bus_of(kind: str, folder: Path) -> Any:
    if kind == "memory://":
        return create_event_bus(kind)
    return create_event_bus(
        {"backend": "sqlite", "path": str(folder / "run.db"), "write_behind": kind.endswith("behind")}
    )


@pytest.mark.parametrize("kind", ["sqlite", "sqlite-behind"])
async def test_replay_since_zero_of_a_whole_journal_starts_at_the_first(kind: str, tmp_path: Path) -> None:
    async with bus_of(kind, tmp_path) as bus:
        for n in range(3):
            await bus.publish(Told(n=n))
        assert await bus.drain(timeout=60)
        assert [event["n"] async for event in bus.replay(since=0)] == [0, 1, 2]


async def test_replay_since_an_offset_that_retention_took_is_still_refused(tmp_path: Path) -> None:
    async with bus_of("sqlite", tmp_path) as bus:
        for n in range(3):
            await bus.publish(Told(n=n))
        await bus.trim(before=3, force=True)
        with pytest.raises(eventbus.OffsetGone):
            [event async for event in bus.replay(since=1)]


@pytest.mark.parametrize("kind", ["memory://", "sqlite", "sqlite-behind"])
async def test_explain_answers_right_after_publish(kind: str, tmp_path: Path) -> None:
    async with bus_of(kind, tmp_path) as bus:
        receipt = bus.publish_nowait(Told(n=5))
        assert (await bus.explain(receipt.event_id)).event["n"] == 5


async def test_explain_answers_on_a_bus_that_nobody_started() -> None:
    bus: Any = InMemoryEventBus()
    receipt = await bus.publish(Told(n=5))
    assert (await bus.explain(receipt.event_id)).event["n"] == 5


@pytest.mark.parametrize("kind", ["sqlite", "sqlite-behind"])
async def test_explain_answers_from_the_journal_after_a_restart(kind: str, tmp_path: Path) -> None:
    async with bus_of(kind, tmp_path) as bus:

        async def publish(_event: Event) -> None:
            await bus.publish("found.effect")

        bus.subscribe(Told, publish)
        receipt = await bus.publish(Told())
        assert await bus.drain(timeout=60)
    async with bus_of(kind, tmp_path) as bus:
        explanation = await bus.explain(receipt.event_id)
    assert [event.type for event in explanation.descendants] == ["found.effect"]


def test_replay_on_memory_is_refused_with_the_name_of_what_it_lacks() -> None:
    bus: Any = InMemoryEventBus()
    with pytest.raises(PolicyConflict, match="replay"):
        bus.replay()


# --- R19: one page of several buses ----------------------------------------------------------------------------------


async def test_every_series_says_which_bus_it_is_of() -> None:
    bus = InMemoryEventBus(name="desk")
    bus.subscribe(Told, ignore)
    async with bus:
        await bus.publish(Told())
        assert await bus.drain(timeout=60)
        page = MetricsCollector(bus).text()
    samples = [sample for family in text_string_to_metric_families(page) for sample in family.samples]
    assert samples
    assert {sample.labels.get("bus") for sample in samples} == {"desk"}


def test_two_buses_in_one_registry_make_no_page_that_says_one_thing_twice() -> None:
    registry, one, other = CollectorRegistry(), InMemoryEventBus(name="desk"), InMemoryEventBus(name="archive")
    registry.register(MetricsCollector(one))
    with contextlib.suppress(ValueError):  # a second one may be refused, for a registry cannot join two families
        registry.register(MetricsCollector(other))
    page = generate_latest(registry).decode()
    headed = Counter(line.split(" ", 3)[2] for line in page.splitlines() if line.startswith("# HELP"))
    assert {name for name, count in headed.items() if count > 1} == set()
    series = Counter(line.rpartition(" ")[0] for line in page.splitlines() if line and not line.startswith("#"))
    assert {name for name, count in series.items() if count > 1} == set()
    assert any('bus="desk"' in name for name in series)


def test_one_bus_twice_in_one_registry_is_refused() -> None:
    registry, bus = CollectorRegistry(), InMemoryEventBus(name="desk")
    registry.register(MetricsCollector(bus))
    with pytest.raises(ValueError, match=r"(?i)duplicate"):
        registry.register(MetricsCollector(bus))


def test_default_names_of_buses_are_unique() -> None:
    names = {InMemoryEventBus().name for _ in range(3)}
    assert len(names) == 3
    assert all(name.startswith("eventbus") for name in names)


def test_a_name_that_was_given_is_kept() -> None:
    assert [InMemoryEventBus(name="desk").name for _ in range(2)] == ["desk", "desk"]


# --- R20: a bus that nobody starts -----------------------------------------------------------------------------------


def autostarting(**settings: Any) -> Any:
    make: Any = InMemoryEventBus
    return make(autostart=True, **settings)


@pytest.fixture
async def auto_bus() -> AsyncIterator[Any]:
    bus = autostarting()
    yield bus
    await bus.shutdown(timeout=1)


@pytest.fixture
async def default_bus() -> AsyncIterator[Any]:
    """The bus of this process, ended with the test, which makes the next one another."""
    bus = face.default_bus()
    yield bus
    await bus.shutdown(timeout=1)


async def answer(event: Event) -> str:
    return f"{event.type} heard"


@pytest.mark.virtual_time
class TestAutostart:
    """Whatever needs a running bus starts it."""

    async def test_publish_starts_it(self, auto_bus: Any) -> None:
        heard = Recorder()
        auto_bus.subscribe(Told, heard)
        await auto_bus.publish(Told(n=1))
        await settle()
        assert heard.values("n") == [1]

    async def test_publish_nowait_starts_it(self, auto_bus: Any) -> None:
        heard = Recorder()
        auto_bus.subscribe(Told, heard)
        auto_bus.publish_nowait(Told(n=1))
        await settle()
        assert heard.values("n") == [1]

    async def test_publish_many_starts_it(self, auto_bus: Any) -> None:
        heard = Recorder()
        auto_bus.subscribe(Told, heard)
        await auto_bus.publish_many([Told(n=1), Told(n=2)])
        await settle()
        assert heard.values("n") == [1, 2]

    async def test_publish_and_wait_starts_it(self, auto_bus: Any) -> None:
        auto_bus.subscribe(Told, ignore)
        assert await auto_bus.publish_and_wait(Told()) == []

    async def test_request_starts_it(self, auto_bus: Any) -> None:
        auto_bus.subscribe(Told, answer)
        assert await auto_bus.request(Told()) == "found.told heard"

    async def test_expect_starts_it(self, auto_bus: Any) -> None:
        coming = auto_bus.expect(Told, timeout=5)
        await auto_bus.publish(Told(n=3))
        assert (await coming)["n"] == 3

    async def test_an_explicit_run_forever_joins_it(self, auto_bus: Any) -> None:
        await auto_bus.publish(Told())
        running = asyncio.create_task(auto_bus.run_forever())
        await settle()
        assert not running.done()
        auto_bus.stop()
        async with asyncio.timeout(60):
            await running
        assert not auto_bus.is_running

    async def test_after_its_shutdown_it_is_refused_and_not_started_again(self, auto_bus: Any) -> None:
        await auto_bus.publish(Told())
        await auto_bus.shutdown(timeout=1)
        with pytest.raises(eventbus.BusStopped):
            await auto_bus.publish(Told())
        assert not auto_bus.is_running


def test_what_was_published_without_a_loop_is_handled_by_the_next_one() -> None:
    bus, heard = autostarting(), Recorder()
    bus.subscribe(Told, heard)
    bus.publish_nowait(Told(n=1))

    async def use() -> None:
        await bus.publish(Told(n=2))
        assert await bus.drain(timeout=60)

    asyncio.run(use())
    assert heard.values("n") == [1, 2]


def test_drain_starts_it() -> None:
    bus, heard = autostarting(), Recorder()
    bus.subscribe(Told, heard)
    bus.publish_nowait(Told(n=1))
    assert asyncio.run(bus.drain(timeout=60))
    assert heard.values("n") == [1]


def test_an_autostarted_bus_goes_on_with_the_next_loop() -> None:
    bus, heard = autostarting(), Recorder()
    bus.subscribe(Told, heard)

    async def use(n: int) -> None:
        await bus.publish(Told(n=n))
        assert await bus.drain(timeout=60)

    for n in range(3):
        asyncio.run(use(n))
    assert heard.values("n") == [0, 1, 2]


async def test_a_bus_does_not_start_unless_asked() -> None:
    for bus in (InMemoryEventBus(), create_event_bus("memory://")):
        await bus.publish(Told())
        await settle()
        assert not bus.is_running


async def test_create_event_bus_starts_by_itself_when_asked() -> None:
    bus = create_event_bus("memory://", autostart=True)
    bus.subscribe(Told, ignore)
    try:
        assert await bus.publish_and_wait(Told()) == []
    finally:
        await bus.shutdown(timeout=1)


class TestDefaultBus:
    """One bus for the process, made on first use."""

    async def test_it_is_one(self, default_bus: Any) -> None:
        assert face.default_bus() is default_bus
        assert isinstance(default_bus, InMemoryEventBus)

    async def test_it_starts_by_itself(self, default_bus: Any) -> None:
        default_bus.subscribe(Told, answer)
        assert await face.default_bus().request(Told()) == "found.told heard"

    async def test_after_its_shutdown_there_is_a_new_one(self, default_bus: Any) -> None:
        await default_bus.publish(Told())
        await default_bus.shutdown(timeout=1)
        newer = face.default_bus()
        assert newer is not default_bus
        newer.subscribe(Told, answer)
        assert await newer.request(Told()) == "found.told heard"
        await newer.shutdown(timeout=1)

    async def test_threads_that_ask_at_once_get_the_same(self, default_bus: Any) -> None:
        await default_bus.shutdown(timeout=1)
        barrier, found = threading.Barrier(8), list[Any]()

        def ask() -> None:
            barrier.wait(timeout=10)
            found.append(face.default_bus())

        threads = [threading.Thread(target=ask) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len({id(bus) for bus in found}) == 1
        await found[0].shutdown(timeout=1)


# --- R21: task factories ---------------------------------------------------------------------------------------------


class NamedTask(asyncio.Task[Any]):
    """A task class of somebody's own."""


def with_own_class(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any) -> NamedTask:
    return NamedTask(work, loop=loop, **options)


def with_wrapper(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
    """As a tracer does it: every coroutine runs inside another."""

    async def traced() -> Any:
        return await work

    return asyncio.Task(traced(), loop=loop, **options)


FACTORIES: dict[str, Any] = {
    "own-class": with_own_class,
    "wrapper": with_wrapper,
    "eager": getattr(asyncio, "eager_task_factory", None),
}
NO_EAGER = pytest.mark.skipif(sys.version_info < (3, 12), reason="eager tasks came with Python 3.12")
POLICIES: dict[str, dict[str, Any]] = {
    "plain": {},
    "timeout": {"timeout": 5},
    "four": {"concurrency": 4},
    "task": {"isolation": "task"},
}
ROWS = [
    pytest.param(
        FACTORIES[factory],
        POLICIES[policy],
        suspends,
        id=f"{factory}-{policy}-{'suspends' if suspends else 'at-once'}",
        marks=[NO_EAGER] if factory == "eager" else [],
    )
    for factory in FACTORIES
    for policy in POLICIES
    for suspends in (False, True)
]


@pytest.mark.virtual_time
@pytest.mark.parametrize(("factory", "policy", "suspends"), ROWS)
async def test_three_hundred_in_a_row_are_handled_under_any_task_factory(
    factory: Any, policy: dict[str, Any], suspends: bool
) -> None:
    bus, heard = InMemoryEventBus(), list[int]()

    async def hear(event: Told) -> None:
        if suspends:
            await asyncio.sleep(0)
        heard.append(event.n)

    asyncio.get_running_loop().set_task_factory(factory)
    bus.subscribe(Told, hear, **policy)
    async with bus:
        for n in range(300):
            await bus.publish(Told(n=n))
        assert await bus.drain(timeout=60)
        assert bus.stats().pending == 0
    assert sorted(heard) == list(range(300))
    if policy != {"concurrency": 4}:
        assert heard == list(range(300))


# --- R23: a handler that waits, run at once --------------------------------------------------------------------------


async def by_request(bus: InMemoryEventBus, event_type: str) -> object:
    return await bus.request(Event(event_type))


async def by_publish_and_wait(bus: InMemoryEventBus, event_type: str) -> object:
    return await bus.publish_and_wait(Event(event_type))


async def by_receipt(bus: InMemoryEventBus, event_type: str) -> object:
    return [outcome.result for outcome in await (await bus.publish(Event(event_type)))]


WAITS = [by_request, by_publish_and_wait, by_receipt]


CASES = [
    pytest.param(
        outer,
        inner,
        used == "used",
        isolation,
        id=f"{way}-{used}-{outer.__name__}-{inner.__name__}",
    )
    for way, isolation in (("stepped", "auto"), ("task", "task"))
    for used in ("fresh", "used")
    for outer in WAITS
    for inner in WAITS
]


@pytest.mark.parametrize(("outer", "inner", "used", "isolation"), CASES)
async def test_a_handler_that_waits_for_another_goes_on_however_it_is_run(
    event_bus: InMemoryEventBus, virtual_clock: VirtualClock, outer: Any, inner: Any, used: bool, isolation: Any
) -> None:
    async def ask(_event: Event) -> str:
        await inner(event_bus, "a.inner")
        return "answered"

    event_bus.subscribe("a.b", ignore)
    event_bus.subscribe("a.inner", answer)
    event_bus.subscribe("a.ask", ask, isolation=isolation)
    if used:
        await event_bus.publish("a.b")
        assert await event_bus.drain(timeout=1)
    async with asyncio.timeout(1):
        answered = await outer(event_bus, "a.ask")
    assert answered == {by_request: "answered", by_publish_and_wait: [], by_receipt: ["answered"]}[outer]
