"""From a URL, a dict or keywords to a bus: each value is what its setting takes, or is refused by the name of the setting."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from eventbus import (
    BackendTaken,
    InMemoryEventBus,
    PolicyConflict,
    QueueFull,
    UnknownBackend,
    available_backends,
    create_event_bus,
    default_bus,
    register_backend,
    unregister_backend,
)
from eventbus.journal.sqlite import SqliteJournal


@pytest.fixture
def backend() -> Iterator[str]:
    yield "somebodys"
    if "somebodys" in available_backends():
        unregister_backend("somebodys")


@pytest.mark.parametrize("source", [None, "memory", "memory://", {}, {"backend": "memory"}])
def test_memory_is_what_there_is_unless_somebody_asks_for_more(source: Any) -> None:
    bus = create_event_bus(source, max_queue_size=1)
    bus.publish_nowait("t.x")
    with pytest.raises(QueueFull):
        bus.publish_nowait("t.x")


@pytest.mark.parametrize(
    ("source", "setting"),
    [
        ("memory://?max_queue_size=ten", "max_queue_size"),
        ("memory://?max_queue_size=10.5", "max_queue_size"),
        ("memory://?max_queue_size=" + "9" * 5_000, "max_queue_size"),
        ("memory://?grace=soon", "grace"),
        ("memory://?autostart=maybe", "autostart"),
        ("memory://?clock=mine", "clock"),
        ("memory://?store=mine", "store"),
        ("memory://?nosuch=1", "nosuch"),
        ("sqlite:///run.db?nosuch=1", "nosuch"),
        ("sqlite:///run.db?write_behind=perhaps", "write_behind"),
        ("sqlite:///run.db?batch=5", "batch"),
        ("sqlite:///run.db?write_behind=true&delay=long", "delay"),
        ("sqlite:///run.db?write_behind=true&delay=-1", "delay"),
        ("sqlite:///run.db?keep_outcomes=maybe", "keep_outcomes"),
        ("sqlite:///run.db?retention_s=1d", "retention_s"),
        ("sqlite:///run.db?retention_s=-1", "retention_s"),
        ("sqlite:///run.db?retention_bytes=0", "retention_bytes"),
        (5, "source"),
        (b"memory://", "source"),
        (Path("run.db"), "source"),
        ({"backend": "sqlite", "path": "run.db", "connect": "fast"}, "connect"),
        ({"backend": "sqlite", "path": "run.db", "probe": 1}, "probe"),
    ],
)
def test_a_value_or_a_setting_that_cannot_be_is_refused_by_name(source: Any, setting: str) -> None:
    with pytest.raises(PolicyConflict) as refused:
        create_event_bus(source)
    assert refused.value.argument == setting


@pytest.mark.parametrize("text", ["true", "False", "nan", "1", "a b"])
def test_a_name_is_a_text_whatever_it_looks_like(text: str) -> None:
    assert create_event_bus(f"memory://?name={text}").name == text


@pytest.mark.parametrize(
    ("text", "durable"), [("true", False), ("YES", False), ("1", False), ("false", True), ("0", True)]
)
def test_yes_and_no_are_read_as_such(tmp_path: Path, text: str, durable: bool) -> None:
    bus = create_event_bus(f"sqlite:///{tmp_path}/run.db?write_behind={text}")
    assert ("durable" in bus.capabilities) is durable


def test_an_unknown_backend_is_refused_with_those_there_are() -> None:
    with pytest.raises(UnknownBackend, match=r"memory.*sqlite"):
        create_event_bus("nosuch://")


async def test_a_plug_in_that_brings_a_journal_gets_what_is_not_the_bus_s_own(backend: str, tmp_path: Path) -> None:
    given: list[Any] = []

    def journal(settings: Any) -> SqliteJournal:
        given.append(dict(settings))
        return SqliteJournal(tmp_path / "theirs.db")

    register_backend(backend, journal=journal)
    url = f"{backend}://me@host:5/base?max_queue_size=3&journal_quotes=no&theirs=7"
    async with create_event_bus(url) as bus:
        await bus.publish("t.x", {"n": 1})
        assert [event["n"] async for event in bus.replay()] == [1]
    assert given == [{"host": "host", "port": 5, "user": "me", "path": "base", "theirs": "7", "url": url}]


def test_a_plug_in_that_brings_a_bus_gets_everything(backend: str) -> None:
    given: list[Any] = []

    def bus(settings: Any) -> InMemoryEventBus:
        given.append(dict(settings))
        return InMemoryEventBus(name="theirs")

    register_backend(backend, bus=bus)
    assert create_event_bus({"backend": backend, "more": 3}, max_queue_size=5).name == "theirs"
    assert given == [{"more": 3, "max_queue_size": 5}]


def test_a_name_is_registered_once_until_it_is_free_again(backend: str) -> None:
    register_backend(backend, bus=lambda _settings: InMemoryEventBus())
    with pytest.raises(BackendTaken):
        register_backend(backend, bus=lambda _settings: InMemoryEventBus())
    unregister_backend(backend)
    with pytest.raises(UnknownBackend):
        unregister_backend(backend)
    for built_in in ("memory", "sqlite"):
        with pytest.raises(PolicyConflict, match=built_in):
            unregister_backend(built_in)


async def test_the_default_bus_is_one_until_it_is_shut_down() -> None:
    first = default_bus()
    assert default_bus() is first
    assert await first.publish_and_wait("t.x") == []
    await first.shutdown()
    second = default_bus()
    assert second is not first
    await second.shutdown()
