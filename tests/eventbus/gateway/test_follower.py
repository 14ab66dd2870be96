"""A gateway over a journal that another process writes: it shows everything once, changes nothing, and notices another file."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

import httpx
import pytest

from eventbus import Event, EventBus, JournalUnavailable, WrongProcess, create_event_bus
from eventbus.gateway import Followed
from eventbus.testing.gateway import PATIENCE_S, Served, until

Serving = Callable[..., Awaitable[Served]]


def journal(folder: Path, name: str = "run.db") -> str:
    return f"sqlite:///{folder / name}?synchronous=off"


async def publish(bus: EventBus, count: int, topic: str = "run.step") -> None:
    for n in range(count):
        await bus.publish(topic, {"n": n})


async def test_what_another_writes_comes_live_and_from_before(serving: Serving, tmp_path: Path) -> None:
    async with create_event_bus(journal(tmp_path)) as bus:
        await publish(bus, 300)
        served = await serving(Followed(str(tmp_path / "run.db")))
        async with served.connect() as peer:
            assert (peer.welcome["seq"], peer.welcome["oldest"]) == (300, 1)
            assert peer.welcome["capabilities"] == ["explain", "resume", "views"]
            await peer.subscribe("*", after=0)
            await peer.until("caught_up")
            await publish(bus, 1_500)
            await peer.until("event", seq=1_800)
            assert peer.seqs == [*range(1, 1_801)]


async def test_two_followers_and_the_writers_gateway_serve_every_event_once(serving: Serving, tmp_path: Path) -> None:
    writer = await serving(create_event_bus(journal(tmp_path)))
    followers = [await serving(Followed(str(tmp_path / "run.db"))) for _ in range(2)]
    assert {served.sockets.epoch for served in (writer, *followers)} == {writer.sockets.epoch}
    for served in (writer, *followers):
        await served.bus.drain()
    async with writer.connect() as one, followers[0].connect() as two, followers[1].connect() as three:
        for peer in (one, two, three):
            await peer.subscribe("*")
        await publish(writer.bus, 500)
        for peer in (one, two, three):
            await peer.until("event", seq=500)
            assert peer.seqs == [*range(1, 501)]
    # who was at the writer's goes on at a follower's
    async with followers[0].connect() as again:
        await again.subscribe("*", after=490, epoch=writer.sockets.epoch)
        await again.until("caught_up")
        assert again.seqs == [*range(491, 501)]


async def test_another_file_in_its_place_is_a_resnapshot_and_nothing_foreign(serving: Serving, tmp_path: Path) -> None:
    for name, count, topic in (("run.db", 20, "run.step"), ("other.db", 50, "foreign.step")):
        async with create_event_bus(journal(tmp_path, name)) as bus:
            await publish(bus, count, topic)
    served = await serving(Followed(str(tmp_path / "run.db")))
    async with served.connect() as peer:
        before = peer.welcome["epoch"]
        await peer.subscribe("*")
        for file in sorted(tmp_path.glob("other.db*"), reverse=True):  # what lies beside it first
            os.replace(file, tmp_path / file.name.replace("other", "run"))
        told = await peer.until("resnapshot")
        assert (told["reason"], told["seq"]) == ("epoch", 50)
        assert told["epoch"] == served.sockets.epoch != before
        async with create_event_bus(journal(tmp_path)) as bus:
            await publish(bus, 1)
            await peer.until("event", seq=51)
        assert peer.seqs == [51]


@pytest.mark.parametrize("before", [0, 3, 9])
async def test_whoever_hears_it_is_told_of_another_file_before_anything_in_it(
    serving: Serving, tmp_path: Path, before: int
) -> None:
    for name, count, topic in (("run.db", before, "run.step"), ("other.db", 5, "foreign.step")):
        async with create_event_bus(journal(tmp_path, name)) as bus:
            await publish(bus, count, topic)
    told: list[str] = []
    await serving(
        Followed(
            str(tmp_path / "run.db"),
            heard=lambda events, _first: told.extend(event.type for event in events),
            replaced=lambda: told.append("another"),
        )
    )
    for file in sorted(tmp_path.glob("other.db*"), reverse=True):  # what lies beside it first
        os.replace(file, tmp_path / file.name.replace("other", "run"))
    await until(lambda: told[-1:] == ["foreign.step"])
    assert told == ["run.step"] * before + ["another"] + ["foreign.step"] * 5


async def test_nothing_can_be_changed_here(serving: Serving, tmp_path: Path) -> None:
    async with create_event_bus(journal(tmp_path)) as bus:
        event = Event("run.step")
        await bus.publish(event)
    served = await serving(Followed(journal(tmp_path)))
    async with httpx.AsyncClient(base_url=f"{served.url}/api/v1", timeout=PATIENCE_S) as http:
        posts = [
            await http.post("/events", json={"type": "run.step", "payload": {}}),
            await http.post("/halt", json={"reason": "no"}),
            await http.post("/dead-letters/1/redrive", json={}),
            await http.delete("/dead-letters/1"),
        ]
        assert [(answer.status_code, answer.json()["type"].rpartition("/")[2]) for answer in posts] == [
            (409, "read_only")
        ] * 4
        page = (await http.get("/events")).json()
        assert [item["payload"]["event_id"] for item in page["events"]] == [event.event_id]
        assert (await http.get(f"/events/{event.event_id}")).json()["seq"] == 1


async def test_all_that_happened_is_heard_before_anybody_is_let_in(serving: Serving, tmp_path: Path) -> None:
    heard: list[str] = []

    def take(events: Sequence[Event], _offset: int | None) -> None:
        heard.extend(str(event["n"]) for event in events)

    async with create_event_bus(journal(tmp_path)) as bus:
        await publish(bus, 2_500)
        await serving(Followed(str(tmp_path / "run.db"), take))
        assert heard == [str(n) for n in range(2_500)]
        await publish(bus, 3)
        await until(lambda: len(heard) == 2_503)


async def test_views_tell_what_a_journal_knows(serving: Serving, tmp_path: Path) -> None:
    async with create_event_bus(journal(tmp_path)) as bus:

        @bus.on("run.bad", name="failing")
        async def fail(_event: object) -> None:
            raise ValueError("no")

        await publish(bus, 2, "run.bad")
        await bus.drain()
    served = await serving(Followed(str(tmp_path / "run.db")))
    bus_view = await served.sockets.views.snapshot("bus")
    letters = await served.sockets.views.snapshot("letters")
    assert (bus_view["data"]["published"], bus_view["data"]["dead_letters"]) == (2, 2)
    assert [row["subscription"] for row in letters["data"]["rows"]] == ["failing"] * 2


async def test_a_journal_that_is_not_there_is_told_at_once(tmp_path: Path) -> None:
    follower = Followed(str(tmp_path / "missing.db"))
    from eventbus.clock import SystemClock
    from eventbus.gateway.sockets import Sockets

    with pytest.raises(JournalUnavailable, match="no such file"):
        await Sockets(follower, name="follower", clock=SystemClock(), blocks=lambda: 0, keeps=lambda _: "").start()


async def test_a_fork_is_told_that_the_thread_is_another_process_s(
    serving: Serving, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with create_event_bus(journal(tmp_path)) as bus:
        await publish(bus, 3)
    served = await serving(Followed(str(tmp_path / "run.db")))
    follower = served.sockets.follower
    assert follower is not None
    assert len(await follower.read(0, 3, 10)) == 3
    with monkeypatch.context() as fork:
        fork.setattr(os, "getpid", lambda: -1)
        with pytest.raises(WrongProcess, match="which owns the gateway"):
            await follower.read(0, 3, 10)


async def test_it_is_a_command(tmp_path: Path) -> None:
    async with create_event_bus(journal(tmp_path)) as bus:
        await publish(bus, 3)
    command = [sys.executable, "-c", "from eventbus.cli import main; main()", "serve", "--port", "0", "--follow"]
    process = await asyncio.create_subprocess_exec(*command, str(tmp_path / "run.db"), stdout=subprocess.PIPE)
    try:
        assert process.stdout is not None
        url = (await process.stdout.readline()).decode().removeprefix("serving on ").strip()
        async with httpx.AsyncClient(timeout=PATIENCE_S) as http:
            assert len((await http.get(f"{url}/api/v1/events")).json()["events"]) == 3
        process.send_signal(signal.SIGTERM)
        assert await process.wait() == 0
    finally:
        if process.returncode is None:
            process.kill()
    failed = await asyncio.create_subprocess_exec(
        *command, str(tmp_path / "missing.db"), stderr=subprocess.PIPE, stdout=subprocess.PIPE
    )
    _out, error = await failed.communicate()
    assert failed.returncode
    assert len(error.decode().strip().splitlines()) == 1
