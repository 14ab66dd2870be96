"""Desk: what a page commands is what `qt` would have commanded, once, and only while there is a run to take it."""

from __future__ import annotations

import pytest

from eventbus import Event
from eventbus.gateway.problems import Problem
from quantum_trader.events import (
    AcknowledgeRequestedEvent,
    CharacteristicCreatedEvent,
    KillSwitchRequestedEvent,
    RunCompletedEvent,
    ViolationAcknowledgedEvent,
    ViolationCreatedEvent,
)
from quantum_trader.model import KillMode
from quantum_trader.pace import Pace
from quantum_trader.web.desk import Desk
from quantum_trader.web.panels import Panels

COMPLETED = RunCompletedEvent(run_id="r", sessions=1, det_events=1, digest="d")


class Given:
    """A desk, and what it handed over."""

    def __init__(self, *, takes: bool = True, pace: Pace | None = None) -> None:
        self.asked: list[Event] = []
        self.panels = Panels([], sessions=1)
        self.desk = Desk(
            self.panels, ask=self.asked.append if takes else None, pace=None if pace is None else lambda: pace
        )


def broken(given: Given) -> None:
    given.panels.take(
        [
            CharacteristicCreatedEvent(characteristic_id=1, name="x", settings={"type": "imr"}),
            ViolationCreatedEvent(
                violation_id="x-1-1", sample_id=1, characteristic_id=1, rule_id=1, rule_name="o", severity="CRITICAL"
            ),
        ]
    )


def code(refused: pytest.ExceptionInfo[Problem]) -> tuple[int, str]:
    return refused.value.status, refused.value.code


def test_stop_is_latched_and_forced_as_by_qt_kill() -> None:
    given = Given()
    command_id = given.desk.kill_switch(KillMode.HALT, "drill", "dashboard", None)
    (asked,) = given.asked
    assert isinstance(asked, KillSwitchRequestedEvent)
    assert (asked.mode, asked.latch, asked.force, asked.source) == (KillMode.HALT, True, True, "operator")
    assert asked.event_id == command_id
    given.desk.kill_switch(KillMode.OFF, "over", "dashboard", None)
    assert given.asked[1]["latch"] is False


def test_same_key_is_the_same_command() -> None:
    given = Given()
    first = given.desk.kill_switch(KillMode.HALT, "drill", "dashboard", "k")
    assert given.desk.kill_switch(KillMode.HALT, "drill", "dashboard", "k") == first
    assert given.desk.kill_switch(KillMode.HALT, "drill", "dashboard", "other") != first
    assert len(given.asked) == 2


def test_only_an_open_violation_can_be_acknowledged() -> None:
    given = Given()
    broken(given)
    given.desk.acknowledge("x-1-1", "ada", "split", None)
    assert isinstance(given.asked[0], AcknowledgeRequestedEvent)
    given.panels.take([ViolationAcknowledgedEvent(violation_id="x-1-1", user="ada", reason="split")])
    with pytest.raises(Problem) as refused:
        given.desk.acknowledge("x-1-1", "ada", "again", None)
    assert code(refused) == (409, "acknowledged")
    with pytest.raises(Problem) as refused:
        given.desk.acknowledge("x-2-1", "ada", "?", None)
    assert code(refused) == (404, "unknown_violation")


def test_pace_is_set_where_the_run_is() -> None:
    pace = Pace(40.0)
    given = Given(pace=pace)
    assert given.desk.set_pace(10.0, True) == {"sessions_per_s": 10.0, "paused": True}
    assert given.desk.set_pace(None, False) == {"sessions_per_s": 10.0, "paused": False}
    with pytest.raises(Problem) as refused:
        Given().desk.set_pace(1.0, None)
    assert code(refused) == (409, "not_here")


def test_run_that_is_over_takes_no_commands() -> None:
    given = Given(pace=Pace(40.0))
    broken(given)
    given.panels.take([COMPLETED])
    for command in (
        lambda: given.desk.kill_switch(KillMode.HALT, "drill", "dashboard", None),
        lambda: given.desk.acknowledge("x-1-1", "ada", "split", None),
        lambda: given.desk.set_pace(1.0, None),
    ):
        with pytest.raises(Problem) as refused:
            command()
        assert code(refused) == (409, "run_over")
    assert given.asked == []


def test_who_only_looks_cannot_command_and_says_so() -> None:
    given = Given(takes=False)
    assert given.desk.capabilities == frozenset()
    assert Given(pace=Pace(40.0)).desk.capabilities == {"killswitch", "acknowledge", "pace"}
    with pytest.raises(Problem) as refused:
        given.desk.kill_switch(KillMode.HALT, "drill", "dashboard", None)
    assert code(refused) == (409, "not_here")
