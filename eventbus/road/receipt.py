"""Receipt: the proof of acceptance that a publisher gets. It points into a burst, which keeps what came of the event."""

from __future__ import annotations

from collections.abc import Generator, Sequence
from typing import TYPE_CHECKING, Any

from eventbus.errors import NoReply
from eventbus.outcome import Outcomes, Status

if TYPE_CHECKING:
    from eventbus.event import Event
    from eventbus.road.burst import Burst


class Receipt:
    """The event was accepted. `await receipt`, now or later, waits until it is settled and gives one `Outcome` per subscription.

    `queued_s` and `ran_s` of an outcome may be those of the stretch that its event ran in.
    """

    __slots__ = ("burst", "event", "index")

    # No __init__: `receipt_for` fills them in, which costs half of a call of it on the hottest line of the package.
    burst: Burst
    index: int
    event: Event

    @property
    def event_id(self) -> str:
        return self.event.event_id

    @property
    def offset(self) -> int | None:
        """Its place in the journal; None in memory."""
        first = self.burst.offset
        return None if first is None else first + self.index

    @property
    def durability(self) -> str:
        """The level really reached: memory, process_crash, power_loss or broker_defined."""
        return self.burst.durability

    def move(self, burst: Burst) -> None:
        """Its event parted from its burst, and has one of its own."""
        self.burst, self.index = burst, 0

    async def written(self, within: float | None = None) -> Receipt:
        """Wait until its event is in the journal; gives itself. Raises what the journal answered, and `NotYet` after so many seconds."""
        while True:
            burst = self.burst
            if burst.commit is not None:
                await burst.commit.wait(within)
            if self.burst is burst:  # else it parted from its neighbours, and has to wait by itself
                return self

    def __await__(self) -> Generator[Any, None, Outcomes]:
        outcomes = self.burst.outcomes(self.index)
        if outcomes is None:
            outcomes = yield from self.burst.settled(self.index, self.event).__await__()
        return outcomes

    def __repr__(self) -> str:
        return f"Receipt(event_id={self.event_id!r}, offset={self.offset}, durability={self.durability!r})"


def answer_of(event: Event, outcomes: Outcomes) -> object:
    """What its handlers say to an event that was asked about. Raises what one of them raised, or `NoReply`."""
    for outcome in outcomes:
        if outcome.status is Status.SUCCEEDED and outcome.result is not None:
            return outcome.result
    for outcome in outcomes:
        if outcome.error is not None:
            raise outcome.error
    raise NoReply(event.type, len(outcomes))


def receipt_for(burst: Burst, index: int, event: Event) -> Receipt:
    """The receipt of an event that is accepted: its place in a burst."""
    receipt = Receipt()
    receipt.burst, receipt.index, receipt.event = burst, index, event
    return receipt


def receipts_for(burst: Burst, first: int, events: Sequence[Event]) -> list[Receipt]:
    """The receipts of events that are accepted in a row, from that place in their burst on."""
    receipts = []
    for index, event in enumerate(events, first):
        receipt = Receipt()
        receipt.burst, receipt.index, receipt.event = burst, index, event
        receipts.append(receipt)
    return receipts
