"""Commands: the routes of a run besides those of its bus: kill switch, speed, acknowledgement, and what is asked about it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, Literal

from fastapi import APIRouter, Path
from fastapi.requests import Request
from pydantic import BaseModel, Field

from eventbus.gateway.access import Admin, Here, Reader
from eventbus.gateway.auth import LOCAL, Principal
from eventbus.gateway.bodies import Told
from eventbus.gateway.commands import Key, given
from eventbus.gateway.documents import answers, takes
from eventbus.gateway.given import Given, Reason
from eventbus.gateway.problems import Problem
from quantum_trader.model import KillMode
from quantum_trader.web.desk import Desk
from quantum_trader.web.panels import Panels

Story = Callable[[str], list[dict[str, Any]]]
"""The nodes of the story of an order, first cause first. Raises `LookupError`. Reads files: it is called in a thread."""

NAME = "dashboard"
"""Who commands where no token says who."""

Who = Annotated[str, Field(min_length=1, max_length=128, pattern=r"^[^\x00-\x1f\x7f-\x9f]*[^\x00-\x20\x7f-\x9f]$")]
Id = Annotated[str, Path(max_length=256)]


class KillSwitch(Given):
    """Which mode of the kill switch is wanted, and why."""

    mode: Literal["off", "reduce_only", "halt"]
    reason: Reason


class Speed(Given):
    """How fast to replay; 0 is as fast as possible. What is left out stays."""

    sessions_per_s: Annotated[float, Field(ge=0, le=1e6)] | None = None
    paused: bool | None = None


class Acknowledgement(Given):
    """Who has seen a violation, and what there is to say of it."""

    user: Who
    reason: Reason


class Asked(Told):
    """The command is kept, and takes effect before the next session."""

    command_id: str
    effective: Literal["next_session"] = "next_session"


class SpeedBody(Told):
    """What holds from now on."""

    sessions_per_s: float
    paused: bool


class SessionBody(Told):
    """A session, and the event that it was decided by."""

    session: int
    event_id: str


class Values(BaseModel):
    """Plain values, as the view of that name has them."""

    model_config = {"extra": "allow"}


def routes(panels: Panels, desk: Desk, story: Story | None, report: Callable[[], dict[str, Any]]) -> APIRouter:
    """The routes of one run."""
    router = APIRouter(prefix="/api/v1", tags=["run"])
    refused = answers(400, 409, 413, 415, 422)

    @router.post("/killswitch", status_code=202, openapi_extra=takes(KillSwitch), responses=refused)
    async def killswitch(request: Request, gateway: Here, who: Admin, key: Key = None) -> Asked:
        """Stop trading in the run, or release it, before its next session."""
        asked = await given(KillSwitch, request, gateway)
        mode = KillMode(asked.mode.upper())
        return Asked(command_id=desk.kill_switch(mode, asked.reason, _name(who), key))

    @router.post("/speed", openapi_extra=takes(Speed), responses=refused)
    async def speed(request: Request, gateway: Here, _who: Admin) -> SpeedBody:
        """Replay faster or slower, pause, go on: at once, and no part of what is decided."""
        asked = await given(Speed, request, gateway)
        return SpeedBody(**desk.set_pace(asked.sessions_per_s, asked.paused))

    @router.post(
        "/violations/{violation_id}/acknowledge",
        status_code=202,
        openapi_extra=takes(Acknowledgement),
        responses={**refused, **answers(404)},
    )
    async def acknowledge(violation_id: Id, request: Request, gateway: Here, _who: Admin, key: Key = None) -> Asked:
        """Acknowledge a violation on a control chart, before the next session."""
        asked = await given(Acknowledgement, request, gateway)
        return Asked(command_id=desk.acknowledge(violation_id, asked.user, asked.reason, key))

    @router.get("/state")
    async def state(_gateway: Here, _who: Reader) -> Values:
        """Where the run is: the same as the view `run`."""
        return Values(**panels.run())

    @router.get("/sessions/{session}", responses=answers(404))
    async def session(session: Annotated[int, Path(ge=0, le=2**31)], _who: Reader) -> SessionBody:
        """Which event a session was decided by: its causal tree is what was decided then."""
        try:
            return SessionBody(session=session, event_id=panels.decided(session))
        except LookupError as error:
            raise Problem(404, "unknown_session", "the run has not come to this session: see the view run") from error

    @router.get("/charts/{characteristic_id}", responses=answers(404))
    async def chart(characteristic_id: Annotated[int, Path(ge=0, le=2**31)], _who: Reader) -> Values:
        """A control chart: its newest points, limits, violations."""
        try:
            return Values(**panels.charts.chart(characteristic_id))
        except LookupError as error:
            raise Problem(404, "unknown_chart", "there is no chart of this id: see the view charts") from error

    @router.get("/orders/{order_id}")
    async def order(order_id: Id, _who: Reader) -> Values:
        """Why an order came about and what became of it: bar, signal, proposal, size, checks, fills.

        Without nodes where the journal of the run has no such order, or not yet.
        """
        try:
            nodes = [] if story is None else await asyncio.to_thread(story, order_id)
        except LookupError:
            nodes = []
        return Values.model_validate({"order_id": order_id, "nodes": nodes})

    @router.get("/report")
    async def figures(_who: Reader) -> Values:
        """The figures of the run so far."""
        return Values(**report())

    return router


def _name(who: Principal) -> str:
    return NAME if who is LOCAL else who.id
