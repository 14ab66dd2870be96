"""Venue link: the run's line to a venue of its user's own: reports are kept before they are heard, orders sent once journalled.

A report waits in a file until the journal has it, and comes before the next session, as a command does. Nothing is sent before the
session that decided it is in the journal, nor before the venue was asked what it has.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from decimal import Decimal
from types import TracebackType
from typing import Final, Self

from eventbus import Event, EventBus
from quantum_trader.events import KillSwitchRequestedEvent
from quantum_trader.events.own import VenueReportedEvent
from quantum_trader.model import KillMode
from quantum_trader.runs.inbox import OPERATOR, Inbox
from quantum_trader.venues.desk import NotReconciled, VenueDesk
from quantum_trader.venues.executor import report_of
from quantum_trader.venues.values import Report, ReportStatus

SOURCE: Final = "venue"
"""Who reports."""


class VenueLink:
    """A context manager around the time that a venue is listened to; `ask` hands a command to the run.

    For `grace` seconds a difference at the start may still be explained by a report.
    """

    def __init__(
        self, bus: EventBus, desk: VenueDesk, inbox: Inbox, ask: Callable[[Event], None], *, grace: float
    ) -> None:
        self._bus = bus
        self._desk = desk
        self._inbox = inbox
        self._ask = ask
        self._grace = grace
        self._known: set[tuple[str, str, str]] = set()  # reports that were heard, whoever told them again
        self._heard = asyncio.Event()
        self._listening: asyncio.Task[None] | None = None
        self._is_told = False

    async def __aenter__(self) -> Self:
        async for event in self._bus.replay(types=VenueReportedEvent.type):
            assert isinstance(event, VenueReportedEvent)
            self._known.add(_key(report_of(event)))
        self._known |= {_key(report) for report in self._coming()}
        self._listening = asyncio.create_task(self._listen())
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._listening is not None:
            self._listening.cancel()
            with contextlib.suppress(asyncio.CancelledError, Exception):
                await self._listening

    async def after(self, flush: Callable[[], Awaitable[object]]) -> None:
        """A session that is new is decided: `flush` it, then send what it decided. What does not go stops trading, with the reason."""
        try:
            if self._listening is not None and self._listening.done():
                raise NotReconciled((f"its reports ended ({self._listening.exception()!r})",))
            if not self._desk.is_reconciled:
                await self._reconcile()
            await flush()
            unsent = await self._desk.send()
            await self._desk.send_ends()
        except (NotReconciled, OSError, TimeoutError) as error:
            self._stop(f"venue: {error}")
            return
        self._is_told = False
        for order in unsent:
            self._keep(Report(order.client_id, ReportStatus.CANCELLED, *_NOTHING, "", datetime.now(UTC)))

    async def end(self) -> None:
        """The run is over: nothing of it is left to work at the venue."""
        for order in self._desk.unfinished():
            self._desk.end(order.client_id)
        await self._desk.send_ends()

    async def _reconcile(self) -> None:
        """Compare with what the venue has; what is on its way may explain a difference. Raises `NotReconciled`."""
        differs = NotReconciled(("it does not answer",))
        try:
            async with asyncio.timeout(self._grace):
                while True:
                    self._heard.clear()
                    try:
                        return await self._desk.reconcile(self._coming())
                    except NotReconciled as error:
                        differs = error
                        await self._heard.wait()
        except TimeoutError:
            raise differs from None

    async def _listen(self) -> None:
        async for report in self._desk.reports():
            if _key(report) not in self._known:
                self._keep(report)

    def _keep(self, report: Report) -> None:
        self._known.add(_key(report))
        self._inbox.put(reported(report))
        self._heard.set()

    def _coming(self) -> list[Report]:
        """What was heard, and is not taken yet."""
        return [report_of(event) for event in self._inbox.waiting() if isinstance(event, VenueReportedEvent)]

    def _stop(self, reason: str) -> None:
        if not self._is_told:
            self._is_told = True
            self._ask(
                KillSwitchRequestedEvent(mode=KillMode.HALT, latch=True, reason=reason, actor=SOURCE, source=OPERATOR)
            )


_NOTHING: Final = (Decimal(0), Decimal(0), Decimal(0))


def _key(report: Report) -> tuple[str, str, str]:
    return report.client_id, ReportStatus(report.status).value, report.venue_trade_id


def reported(report: Report) -> VenueReportedEvent:
    """A report as an event."""
    return VenueReportedEvent(
        client_id=report.client_id,
        status=ReportStatus(report.status).value,
        filled=report.filled,
        price=report.price,
        fee=report.fee,
        venue_trade_id=report.venue_trade_id,
        reported=report.ts.isoformat(),
    )
