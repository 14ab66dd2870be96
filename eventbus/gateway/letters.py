"""Letters: dead letters tended from outside: delivered again, with the outcome told as an event, or thrown away."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Literal

from eventbus import DeadLetter, Event, EventBus, Subscription, SubscriptionStats
from eventbus.gateway.problems import Problem

_LOOK_S = 0.05
_PATIENCE_S = 60.0

Ending = Literal["settled", "dead_lettered", "pending"]


class DeadLetterRedrivenEvent(Event, type="system.dead_letter.redriven"):
    """A dead letter was delivered again: it is settled, or there is a new dead letter, or it took longer than a minute."""

    letter_id: int
    redriven_event_id: str
    subscription: str
    ending: Ending


class Letters:
    """The dead letters of one bus. `tells` says whether outcomes become events, `keeps` why one of a subscription must not be
    delivered again, "" where it may.
    """

    def __init__(self, bus: EventBus, *, tells: bool, keeps: Callable[[str], str]) -> None:
        self._bus = bus
        self._tells = tells
        self._keeps = keeps
        self._watching: set[asyncio.Task[None]] = set()

    async def redrive(self, letter_id: int) -> int:
        """Deliver one again. Raises `Problem`: 404 when there is none, 409 when it must not be, or nobody has its subscription."""
        letter = await self._one(letter_id)
        if why := self._keeps(letter.subscription):
            raise Problem(409, "not_redrivable", why)
        live = next((one for one in self._bus.subscriptions if one.name == letter.subscription), None)
        count = await self._bus.dead_letters.redrive(where=lambda each: each.id == letter_id)
        if not count:
            raise Problem(409, "no_subscription", "nobody has the subscription of this dead letter now: it is kept")
        if self._tells and live is not None:
            watching = asyncio.get_running_loop().create_task(self._watch(letter, live, _accepted(live)))
            self._watching.add(watching)
            watching.add_done_callback(self._watching.discard)
        return count

    async def purge(self, letter_id: int) -> int:
        """Throw one away. Raises `Problem` 404."""
        await self._one(letter_id)
        return await self._bus.dead_letters.purge(where=lambda each: each.id == letter_id)

    async def end(self) -> None:
        """Watch no more."""
        for watching in self._watching:
            watching.cancel()
        await asyncio.gather(*self._watching, return_exceptions=True)

    async def _one(self, letter_id: int) -> DeadLetter:
        found = await self._bus.dead_letters.list(where=lambda each: each.id == letter_id)
        if not found:
            raise Problem(
                404, "unknown_letter", "no dead letter of this id is kept: it was redriven, purged, or never was"
            )
        return found[0]

    async def _watch(self, letter: DeadLetter, live: Subscription, accepted: int) -> None:
        ending: Ending = "pending"
        try:
            async with asyncio.timeout(_PATIENCE_S):
                while live.is_active and _ended(live.stats()) < accepted:  # noqa: ASYNC110 - nothing tells when it ends
                    await asyncio.sleep(_LOOK_S)
            ending = "dead_lettered" if await self._is_dead_again(letter) else "settled"
        except TimeoutError:
            pass
        await self._bus.publish(
            DeadLetterRedrivenEvent(
                letter_id=letter.id,
                redriven_event_id=letter.event.event_id,
                subscription=letter.subscription,
                ending=ending,
            )
        )

    async def _is_dead_again(self, letter: DeadLetter) -> bool:
        return bool(
            await self._bus.dead_letters.list(
                where=lambda each: (
                    each.id > letter.id
                    and each.subscription == letter.subscription
                    and each.event.event_id == letter.event.event_id
                )
            )
        )


def _accepted(subscription: Subscription) -> int:
    return subscription.stats().accepted


def _ended(stats: SubscriptionStats) -> int:
    return stats.accepted - stats.pending
