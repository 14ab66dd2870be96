"""The halt and dead letters: written in the order they were asked for, kept until they are done with, and said if that failed."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from eventbus import Event, EventBus, JournalUnavailable, create_event_bus
from eventbus.durability.aside import LATCH, REDRIVE, Aside
from eventbus.journal.sqlite import SqliteJournal
from eventbus.testing import Recorder


def open_bus(folder: Path) -> EventBus:
    return create_event_bus({"backend": "sqlite", "path": str(folder / "run.db")})


async def kept(folder: Path, *, redriven: bool = False) -> list[str]:
    async with SqliteJournal(folder / "run.db") as journal:
        return [letter.event_id for letter in await journal.dead_letters(redriven=redriven)]


async def fail(_event: Event) -> None:
    raise ValueError("no")


async def leave_letters(folder: Path, *names: str) -> None:
    async with open_bus(folder) as bus:
        bus.subscribe("t.*", fail, name="picky")
        await bus.publish_many([Event("t.x", payload={"n": n}, event_id=name) for n, name in enumerate(names)])
        assert await bus.drain(60)


async def test_changes_are_made_in_the_order_they_were_asked_for(tmp_path: Path) -> None:
    async with SqliteJournal(tmp_path / "run.db") as journal:
        aside = Aside(journal)
        aside.halted("early", "token-1")  # before it is open
        aside.opened()
        for n in range(20):
            aside.halted(f"reason {n}", f"token {n}")
        await aside.flush()
        assert await aside.latch() == ("reason 19", "token 19")
        aside.halted("last", "token")
        await aside.rearmed()
        assert await journal.values(LATCH) == {}
        assert await aside.latch() is None


async def test_who_does_not_wait_is_told_in_the_log_and_who_waits_by_an_error(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def full(*_arguments: object) -> None:
        raise JournalUnavailable("run.db", "the disk is full")

    async with SqliteJournal(tmp_path / "run.db") as journal:
        aside = Aside(journal)
        aside.opened()
        monkeypatch.setattr(journal, "set_values", full)
        aside.halted("drill", "token")
        await aside.flush()
        assert [message for message in caplog.messages if "halt not saved" in message]
        with pytest.raises(JournalUnavailable):
            await aside.rearmed()


async def test_a_halt_set_by_a_thread_is_kept(tmp_path: Path) -> None:
    async with open_bus(tmp_path) as bus:
        token = await asyncio.to_thread(bus.halt, "drill")
        await bus.flush()
    async with open_bus(tmp_path) as bus:
        assert bus.halt_reason == "drill"
        await bus.rearm(token)
    async with open_bus(tmp_path) as bus:
        assert not bus.is_halted


async def test_a_letter_stays_until_its_redrive_has_an_outcome(tmp_path: Path) -> None:
    await leave_letters(tmp_path, "a", "b")
    may_end, began = asyncio.Event(), asyncio.Event()

    async def wait(_event: Event) -> None:
        began.set()
        await may_end.wait()

    async with open_bus(tmp_path) as bus:
        bus.subscribe("t.*", wait, name="picky")
        assert await bus.dead_letters.redrive(lambda letter: letter.event.event_id == "a") == 1
        await began.wait()
        assert await bus.journal.count_dead_letters() == 2
        may_end.set()
        assert await bus.drain(60)
    assert await kept(tmp_path) == ["b"]
    assert await kept(tmp_path, redriven=True) == ["a", "b"]


async def test_a_letter_that_fails_again_is_another_letter(tmp_path: Path) -> None:
    await leave_letters(tmp_path, "a")
    async with open_bus(tmp_path) as bus:
        bus.subscribe("t.*", fail, name="picky")
        assert await bus.dead_letters.redrive() == 1
        assert await bus.drain(60)
        assert bus.dead_letters.count() == 1
    assert await kept(tmp_path) == ["a"]
    assert await kept(tmp_path, redriven=True) == ["a", "a"]


async def test_a_redrive_that_was_cancelled_leaves_the_letter_in_the_journal(tmp_path: Path) -> None:
    await leave_letters(tmp_path, "a")
    async with open_bus(tmp_path) as bus:
        picky = bus.subscribe("t.*", Recorder(), name="picky")
        picky.pause()
        await bus.dead_letters.redrive()
        await picky.cancel()
    assert await kept(tmp_path) == ["a"]


async def test_what_was_purged_is_gone_when_the_call_returns(tmp_path: Path) -> None:
    await leave_letters(tmp_path, "a", "b")
    async with open_bus(tmp_path) as bus:
        assert await bus.dead_letters.purge(lambda letter: letter.event.event_id == "a") == 1
        assert [letter.event_id for letter in await bus.journal.dead_letters()] == ["b"]


async def test_letters_of_groups_are_purged_and_redriven_too(tmp_path: Path) -> None:
    fails = [True]

    async def pick(event: Event) -> None:
        if fails[0]:
            raise ValueError(event.event_id)

    async with open_bus(tmp_path) as bus:
        bus.subscribe("t.*", pick, group="books")
        for name in ("a", "b"):
            await bus.publish(Event("t.x", event_id=name))
        assert await bus.drain(60)
        fails[0] = False
        await bus.dead_letters.purge(lambda letter: letter.event.event_id == "a")
        await bus.dead_letters.redrive()
        assert await bus.drain(60)
    assert await kept(tmp_path) == []
    assert await kept(tmp_path, redriven=True) == ["b"]


async def test_what_was_asked_for_while_no_bus_ran_is_delivered_when_its_subscription_is_there(tmp_path: Path) -> None:
    await leave_letters(tmp_path, "a", "b")
    async with SqliteJournal(tmp_path / "run.db") as journal:
        (first, _second) = await journal.dead_letters()
        await journal.set_values(REDRIVE, {str(first.id): b""})
    seen = Recorder()
    async with open_bus(tmp_path) as bus:
        assert len(seen) == 0
        bus.subscribe("t.*", seen, name="picky")
        assert await bus.drain(60)
    assert seen.values("n") == [0]
    assert await kept(tmp_path) == ["b"]
