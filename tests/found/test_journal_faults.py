"""What a journal meets in service: records that nobody can read, and a disk without room. The rest goes on, and is not noisy."""

from __future__ import annotations

import asyncio
import gc
import json
import logging
import resource
from base64 import b64decode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, ClassVar

import pytest
from pydantic import field_validator

from eventbus import Event, JournalError, create_event_bus
from eventbus.testing.virtual import VirtualClock

Cli = Callable[..., tuple[int, str, str]]


@pytest.fixture(autouse=True)
def _nothing_left_to_collect() -> Iterator[None]:
    """A reader that ended by an error tells so when it is collected: here, and not while pytest parses another test (3.11 minds)."""
    yield
    gc.collect()


# --- J3: what nobody can read -----------------------------------------------------------------------------------------


class Unprintable(Exception):
    def __str__(self) -> str:
        raise RuntimeError("no words")


class Unusual(BaseException):
    pass


class FieldSpoiled(Event, type="j3.field"):
    """An event whose validator is well when it is published, and not when it is read."""

    spoil: ClassVar[BaseException | None] = None
    n: int

    @field_validator("n")
    @classmethod
    def _spoilt(cls, n: int) -> int:
        if cls.spoil is not None and n == 1:
            raise cls.spoil
        return n


class InitSpoiled(Event, type="j3.init"):
    """An event whose class cannot be made any more when it is read."""

    spoil: ClassVar[BaseException | None] = None
    n: int

    def model_post_init(self, context: Any, /) -> None:
        if self.spoil is not None and self.n == 1:
            raise self.spoil
        super().model_post_init(context)


async def _publish(path: Path, cls: type[FieldSpoiled] | type[InitSpoiled]) -> None:
    async with create_event_bus(f"sqlite:///{path}") as bus:
        await bus.publish_many([cls(n=n) for n in range(3)])


async def _catch_up(path: Path) -> dict[str, list[int]]:
    """What two groups that begin at the beginning get."""
    handled: dict[str, list[int]] = {"one": [], "two": []}
    bus = create_event_bus(f"sqlite:///{path}")

    def into(found: list[int]) -> Callable[[Event], None]:
        def handle(event: Event) -> None:
            found.append(event.payload["n"])

        return handle

    for group, found in handled.items():
        bus.subscribe("*", into(found), group=group, start="beginning")
    await bus.connect()
    try:
        assert await bus.drain(60)
        await bus.publish("j3.after", {"n": 9})
        assert await bus.drain(60)
    finally:
        await bus.shutdown(0)
    return handled


@pytest.mark.parametrize(
    "error",
    [
        pytest.param(RuntimeError("odd"), id="RuntimeError"),
        pytest.param(KeyError("odd"), id="KeyError"),
        pytest.param(MemoryError(), id="MemoryError"),
        pytest.param(RecursionError("odd"), id="RecursionError"),
        pytest.param(StopIteration(), id="StopIteration"),
        pytest.param(asyncio.CancelledError(), id="CancelledError"),
        pytest.param(Unprintable(), id="unprintable"),
        pytest.param(Unusual(), id="BaseException"),
    ],
)
async def test_an_event_whose_validator_raises_anything_on_read_is_quarantined_and_the_readers_go_on(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, error: BaseException
) -> None:
    path = tmp_path / "run.db"
    await _publish(path, FieldSpoiled)
    with monkeypatch.context() as spoiling:
        spoiling.setattr(FieldSpoiled, "spoil", error)
        assert await _catch_up(path) == {"one": [0, 2, 9], "two": [0, 2, 9]}
    _assert_quarantined(cli, path)


async def test_an_event_whose_class_raises_on_read_is_quarantined_and_the_readers_go_on(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "run.db"
    await _publish(path, InitSpoiled)
    with monkeypatch.context() as spoiling:
        spoiling.setattr(InitSpoiled, "spoil", LookupError("odd"))
        assert await _catch_up(path) == {"one": [0, 2, 9], "two": [0, 2, 9]}
    _assert_quarantined(cli, path)


def _assert_quarantined(cli: Cli, path: Path) -> None:
    code, printed, _ = cli("quarantine", path, "--json")
    items = [json.loads(line) for line in printed.splitlines()]
    assert code == 0
    assert {item["offset"] for item in items} == {2}
    assert all(b'"n":1' in b64decode(item["raw_base64"]) for item in items)


@pytest.mark.parametrize("command", ["events", "tail", "replay", "types", "stats", "verify"])
async def test_a_command_shows_an_event_that_cannot_be_read_and_goes_on(
    tmp_path: Path, cli: Cli, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    path = tmp_path / "run.db"
    await _publish(path, FieldSpoiled)
    with monkeypatch.context() as spoiling:
        spoiling.setattr(FieldSpoiled, "spoil", RuntimeError("odd"))
        code, printed, complaint = cli(command, path)
    assert (code, complaint) == (0, "")
    if command in ("events", "tail", "replay"):
        assert sum("j3.field" in line for line in printed.splitlines()) == 3


# --- J4: no room ------------------------------------------------------------------------------------------------------


@contextmanager
def full_disk() -> Iterator[None]:
    """Files cannot grow beyond what is hardly anything."""
    usual = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4_096, usual[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, usual)


async def test_five_groups_over_a_full_disk_tell_it_about_once_a_minute(
    tmp_path: Path, virtual_clock: VirtualClock, caplog: pytest.LogCaptureFixture
) -> None:
    bus = create_event_bus(f"sqlite:///{tmp_path / 'run.db'}", clock=virtual_clock)
    full = asyncio.Event()

    async def handle(_: Event) -> None:
        await full.wait()

    for number in range(5):
        bus.subscribe("told.*", handle, group=f"group-{number}")
    await bus.connect()
    try:
        await bus.publish("told.n", {"n": 1})
        with full_disk():
            full.set()
            minutes, began = 5, virtual_clock.time()
            while virtual_clock.time() < began + 60 * minutes:
                await asyncio.sleep(0.5)
                with suppress(JournalError):  # a question to the journal: what was asked before has its answer then
                    await anext(bus.replay(since=1))
        told = [record for record in caplog.records if record.levelno >= logging.ERROR]
        passed = int((virtual_clock.time() - began) // 60)  # a question may take minutes, of those that are virtual
        assert passed >= minutes
        assert 2 <= len(told) <= 1 + passed  # the first, and then one a minute
    finally:
        await bus.shutdown(0)


async def test_groups_go_on_when_there_is_room_again(tmp_path: Path) -> None:
    bus = create_event_bus(f"sqlite:///{tmp_path / 'run.db'}")
    full = asyncio.Event()
    handled: list[int] = []

    async def handle(event: Event) -> None:
        await full.wait()
        handled.append(event["n"])

    bus.subscribe("told.*", handle, group="group")
    await bus.connect()
    try:
        for n in range(3):
            await bus.publish("told.n", {"n": n})
        with full_disk():
            with pytest.raises(JournalError):
                await bus.publish("told.n", {"n": 3})
            full.set()
        assert await bus.drain(60)
        assert handled == [0, 1, 2]
    finally:
        await bus.shutdown(0)
