"""Desk: what a person at the dashboard may have a run do. The same commands as `qt` gives, in the same places of the run."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Callable
from typing import Any, Final, Protocol

from eventbus import Event
from eventbus.gateway.problems import Problem
from quantum_trader.events import AcknowledgeRequestedEvent, KillSwitchRequestedEvent
from quantum_trader.model import KillMode
from quantum_trader.web.panels import Pace, Panels

OPERATOR: Final = "operator"
"""Who commands from outside: the source of every command."""

_REMEMBERED: Final = 1_000  # commands with a key of the page's own


class SettablePace(Pace, Protocol):
    """A pace that can be set."""

    def pause(self) -> None: ...
    def resume(self) -> None: ...
    def set_speed(self, speed: float) -> None: ...


class Desk:
    """Takes commands for one run. `ask` hands one over, to be published before the next session; None where nobody takes any.

    `pace` gives what sets the speed, once the run has begun; there is none where the run is elsewhere. Whatever cannot be
    done raises `Problem`.
    """

    def __init__(
        self,
        panels: Panels,
        *,
        ask: Callable[[Event], None] | None = None,
        pace: Callable[[], SettablePace | None] | None = None,
    ) -> None:
        self._panels = panels
        self._ask = ask
        self._pace = pace
        self._asked: OrderedDict[tuple[str, str], str] = OrderedDict()

    @property
    def capabilities(self) -> frozenset[str]:
        """What can be done here, as the page asks for it."""
        can = set[str]() if self._ask is None else {"killswitch", "acknowledge"}
        return frozenset(can if self._pace is None else can | {"pace"})

    def kill_switch(self, mode: KillMode, reason: str, actor: str, key: str | None) -> str:
        """Stop trading, or release it: a person's word, which holds until a person says otherwise. Gives the command's id."""
        is_stop = mode is not KillMode.OFF
        command = KillSwitchRequestedEvent(
            mode=mode, reason=reason, actor=actor, latch=is_stop, force=True, source=OPERATOR
        )
        return self._hand_over(command, key)

    def acknowledge(self, violation_id: str, user: str, reason: str, key: str | None) -> str:
        """Say that somebody has seen a violation. Gives the command's id."""
        if key is None or (AcknowledgeRequestedEvent.type, key) not in self._asked:
            match self._panels.charts.is_open(violation_id):
                case None:
                    raise Problem(404, "unknown_violation", "there is no violation of this id: see the view charts")
                case False:
                    raise Problem(409, "acknowledged", "somebody has acknowledged this violation already")
        command = AcknowledgeRequestedEvent(violation_id=violation_id, user=user, reason=reason, source=OPERATOR)
        return self._hand_over(command, key)

    def set_pace(self, speed: float | None, is_paused: bool | None) -> dict[str, Any]:
        """Another speed, pause, or both; gives what holds from now on. No decision, and not in the journal."""
        self._must_go_on()
        if self._pace is None:
            raise Problem(409, "not_here", "another process runs this run: its speed is set there")
        pace = self._pace()
        if pace is None:
            raise Problem(409, "not_begun", "the run has not begun: its speed can be set in a moment")
        if speed is not None:
            pace.set_speed(speed)
        if is_paused is not None:
            (pace.pause if is_paused else pace.resume)()
        return {"sessions_per_s": pace.speed, "paused": pace.is_paused}

    def _hand_over(self, command: Event, key: str | None) -> str:
        self._must_go_on()
        if self._ask is None:
            raise Problem(409, "not_here", "this page only looks: command the run with qt, where it runs")
        if key is None:
            self._ask(command)
            return command.event_id
        known = self._asked.get((command.type, key))
        if known is not None:
            return known
        self._ask(command)
        self._asked[command.type, key] = command.event_id
        if len(self._asked) > _REMEMBERED:
            self._asked.popitem(last=False)
        return command.event_id

    def _must_go_on(self) -> None:
        if self._panels.is_over:
            raise Problem(409, "run_over", "the run is over, and takes no commands")
