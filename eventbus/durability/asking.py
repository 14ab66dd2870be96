"""Asking: questions that any process may answer. The first value that a handler returns somewhere is told back, by a hint that may be lost.

Who asks waits for his own subscriptions too. Nobody knows that nobody answers: that is the end of the time-out.
"""

from __future__ import annotations

import asyncio
import contextlib
import uuid
from collections.abc import Awaitable, Callable
from datetime import timedelta
from typing import TYPE_CHECKING, Any

from eventbus.codec import decode, encode
from eventbus.errors import CodecError, JournalError, NoReply, PolicyConflict
from eventbus.event import Event, add_metadata
from eventbus.log import log
from eventbus.outcome import Outcome, Status
from eventbus.road.burst import Burst
from eventbus.road.receipt import answer_of

if TYPE_CHECKING:
    from eventbus.clock import Clock
    from eventbus.dead_letter import DeadLetter
    from eventbus.durability.trouble import Trouble
    from eventbus.journal.shared import SharedJournal
    from eventbus.outcome import Outcomes
    from eventbus.road.part import Delivery, Part
    from eventbus.road.receipt import Receipt

REPLY_TO = "reply_to"
_REPLY = "eventbus.reply"


class Asked(Burst):
    """A question of another process: the first answer that anybody here has is told."""

    def __init__(self, event: Event, burst: Burst, tell: Callable[[Event, Any], None]) -> None:
        super().__init__(event, burst.base, burst.hops, 0, 0, is_urgent=burst.is_urgent)
        self._question: Event | None = event
        self._tell = tell

    def passed(self, part: Part, first: int, upto: int, ended: int) -> int:
        self._look(part.outcome(0))
        return super().passed(part, first, upto, ended)

    def finished(self, delivery: Delivery, outcome: Outcome, letter: DeadLetter | None) -> int:
        self._look(outcome)
        return super().finished(delivery, outcome, letter)

    def _look(self, outcome: Any) -> None:
        question = self._question
        if question is None or not isinstance(outcome, Outcome) or outcome.status is not Status.SUCCEEDED:
            return
        if outcome.result is not None:
            self._question = None
            self._tell(question, outcome.result)


class Asking:
    """Of one process. `start` runs what must not be waited for."""

    def __init__(
        self,
        journal: SharedJournal,
        clock: Clock,
        trouble: Trouble,
        start: Callable[[Awaitable[None]], None],
    ) -> None:
        self.channel = f"reply-{uuid.uuid4().hex[:12]}"
        self.late = 0  # answers that nobody waited for any more
        self._journal = journal
        self._clock = clock
        self._trouble = trouble
        self._start = start
        self._waiting: dict[str, asyncio.Future[Any]] = {}

    # --- who asks --------------------------------------------------------------------------------------------------

    async def ask(self, event: Event, publish: Callable[[Event], Awaitable[Receipt]], timeout: float | None) -> object:
        """The first answer, from here or elsewhere. Raises what a handler here raised, and `PolicyConflict` without a time-out."""
        if timeout is None:
            raise PolicyConflict("timeout", "has to be given where another process may answer, for it may not")
        until = self._clock.now() + timedelta(seconds=timeout)
        add_metadata(event, reply_to=self.channel, reply_by=until.isoformat())
        answer: asyncio.Future[Any] = asyncio.get_running_loop().create_future()
        self._waiting[event.event_id] = answer
        here = asyncio.ensure_future(_settled(await publish(event)))
        try:
            await asyncio.wait([here, answer], return_when=asyncio.FIRST_COMPLETED)
            if not answer.done():
                with contextlib.suppress(NoReply):
                    return answer_of(event, here.result())
            return await answer
        finally:
            del self._waiting[event.event_id]
            here.cancel()
            answer.cancel()

    async def hear(self) -> None:
        """Take answers, until the journal closes."""
        async for body in self._journal.listen(self.channel):
            try:
                reply = decode(body)
                waiting = self._waiting.get(reply["to"])
            except (CodecError, KeyError):
                continue
            if waiting is None or waiting.done():
                self.late += 1
            elif "error" in reply:
                waiting.set_exception(CodecError(reply["error"]))
            else:
                waiting.set_result(Event.from_json(reply["event"]) if "event" in reply else reply["value"])

    # --- who answers -----------------------------------------------------------------------------------------------

    def tell(self, question: Event, answer: Any) -> None:
        """A handler here returned something."""
        self._start(self._send(question, answer))

    async def _send(self, question: Event, answer: Any) -> None:
        said: dict[str, Any] = {"event": answer.to_json()} if isinstance(answer, Event) else {"value": answer}
        try:
            body = encode(Event(_REPLY, payload={"to": question.event_id, **said}))
        except Exception as error:  # noqa: BLE001 - it is the user's, and may be anything
            log.error("answer cannot be told to another process: %s", error, extra={"type": question.type})
            told = f"the answer cannot be told to another process: {error}"
            body = encode(Event(_REPLY, payload={"to": question.event_id, "error": told}))
        try:
            await self._journal.tell(str(question.metadata[REPLY_TO]), body)
        except JournalError as error:
            self._trouble.tell("answer not told to the process that asked", error)


async def _settled(receipt: Receipt) -> Outcomes:
    return await receipt
