"""Commands from another process: taken before the next session, once, whatever dies in between; and nothing but commands."""

from __future__ import annotations

import json
import logging
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from eventbus import Event
from quantum_trader.app import load_feed
from quantum_trader.config import Config, load_config
from quantum_trader.events import (
    AcknowledgeRequestedEvent,
    KillSwitchChangedEvent,
    KillSwitchRequestedEvent,
    SessionDecideEvent,
    TradeExecutedEvent,
)
from quantum_trader.model import KillMode, Side
from quantum_trader.runs.durable import DurableRun
from quantum_trader.runs.folder import RunFolder
from quantum_trader.runs.history import events, opened
from quantum_trader.runs.inbox import Inbox
from quantum_trader.snapshot import event_values


@pytest.fixture(scope="module")
def config() -> Config:
    short = {"symbols": ("IBM",), "end": "2000-07-31"}
    overrides: dict[str, dict[str, Any]] = {"universe": short, "app": {"checkpoint_every": 40}}
    return load_config(environ={}, overrides=overrides)


def halt(mode: KillMode = KillMode.HALT) -> KillSwitchRequestedEvent:
    return KillSwitchRequestedEvent(mode=mode, reason="drill", actor="ann", latch=mode is not KillMode.OFF, force=True)


async def carry_on(
    folder: RunFolder, config: Config, until: int, *, at: int = -1, command: Event | None = None
) -> None:
    """Go on with the run until a session; while session `at` is decided, somebody leaves a command."""
    run = DurableRun(folder, config, load_feed(config))

    async def leave(event: SessionDecideEvent) -> None:
        if event.session == at and command is not None:
            Inbox(folder.commands).put(command)

    run.bus.subscribe(SessionDecideEvent, leave, name="somebody")
    async with run:
        await run.run(until_session=until)


def told(folder: RunFolder, cls: type[Event]) -> list[Any]:
    with opened(folder) as reader:
        return list(events(reader, cls))


@pytest.fixture
def folder(tmp_path: Path, config: Config) -> RunFolder:
    folder = RunFolder(tmp_path / "run")
    folder.begin(config)
    return folder


async def test_a_running_run_takes_a_command_before_its_next_session(folder: RunFolder, config: Config) -> None:
    await carry_on(folder, config, 20, at=10, command=halt())
    (asked,) = told(folder, KillSwitchRequestedEvent)
    (changed,) = told(folder, KillSwitchChangedEvent)
    assert (asked.session, asked.source, changed.session, changed.mode) == (11, "operator", 11, KillMode.HALT)
    assert asked.timestamp == changed.timestamp == load_feed(config).sessions[11].ts
    assert list(folder.commands.iterdir()) == []


async def test_a_command_is_done_once_though_it_comes_back_after_a_crash(folder: RunFolder, config: Config) -> None:
    command = halt()
    await carry_on(folder, config, 50, at=45, command=command)  # after the checkpoint
    Inbox(folder.commands).put(command)  # the crash came before it was taken out
    for checkpoint in folder.path.glob("checkpoint-00000050*"):
        checkpoint.unlink()
    await carry_on(folder, config, 60)
    assert len(told(folder, KillSwitchRequestedEvent)) == 1
    assert list(folder.commands.iterdir()) == []


async def test_commands_come_in_the_order_in_which_they_were_given(folder: RunFolder, config: Config) -> None:
    inbox = Inbox(folder.commands)
    for mode in (KillMode.HALT, KillMode.OFF, KillMode.REDUCE_ONLY):
        inbox.put(halt(mode))
    await carry_on(folder, config, 3)
    assert [event.mode for event in told(folder, KillSwitchChangedEvent)] == ["HALT", "OFF", "REDUCE_ONLY"]


async def test_what_a_crash_left_half_done_is_done_before_any_new_command(folder: RunFolder, config: Config) -> None:
    await carry_on(folder, config, 20)
    for checkpoint in folder.path.glob("checkpoint-*"):
        checkpoint.unlink()
    Inbox(folder.commands).put(halt())
    await carry_on(folder, config, 30)
    (asked,) = told(folder, KillSwitchRequestedEvent)
    assert asked.session == 21


FORGED = [
    TradeExecutedEvent(
        order_id="1", symbol="IBM", side=Side.BUY, size=Decimal(1_000), price=Decimal(1), strategy_id="s", fill_id="f"
    ),
    SessionDecideEvent(session=3),
]


@pytest.mark.parametrize("event", FORGED, ids=lambda event: event.type)
async def test_nothing_but_a_command_is_taken(
    folder: RunFolder, config: Config, event: Event, caplog: pytest.LogCaptureFixture
) -> None:
    Inbox(folder.commands).put(event)
    with caplog.at_level(logging.WARNING):
        await carry_on(folder, config, 5)
    assert told(folder, TradeExecutedEvent) == []
    assert len(told(folder, SessionDecideEvent)) == 6
    assert sorted(file.suffix for file in folder.commands.iterdir()) == [".jsonl", ".refused"]
    assert "no command that a run takes" in caplog.text


async def test_a_command_under_another_name_or_in_another_s_is_taken_as_the_operator_s_or_not_at_all(
    folder: RunFolder, config: Config
) -> None:
    command = AcknowledgeRequestedEvent(violation_id="x", user="u", reason="r", source="risk_guard", causation_id="y")
    inbox = Inbox(folder.commands)
    inbox.put(command)
    (folder.commands / "other.json").write_text(json.dumps(event_values(halt())))
    await carry_on(folder, config, 2)
    (asked,) = told(folder, AcknowledgeRequestedEvent)
    assert (asked.source, asked.causation_id) == ("operator", None)
    assert told(folder, KillSwitchRequestedEvent) == []
    assert sorted(file.name for file in folder.commands.iterdir()) == ["other.refused", "refused.jsonl"]
