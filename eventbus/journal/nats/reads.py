"""Reads: the questions to a bus in its two streams. Each is as the method of that name of `Journal`; changes nothing.

The log is one stream, in which a place is an offset. What is kept beside is another, with one message under each subject.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from datetime import datetime
from fnmatch import fnmatchcase
from typing import Any, NamedTuple

from nats.aio.msg import Msg

from eventbus.errors import OffsetGone
from eventbus.journal.nats.messages import (
    EXPECTED_ID,
    MSG_ID,
    Put,
    as_record,
    message_id,
    place_of,
    retained_as,
    stored_at,
    subject,
    subject_of,
    unpacked,
    word,
)
from eventbus.journal.nats.server import Ack, Refused, Wire
from eventbus.journal.parts import group_of
from eventbus.journal.remote.cursors import Row
from eventbus.journal.remote.integrity import damaged
from eventbus.journal.remote.link import Bus, Linked, Server, question
from eventbus.journal.values import RETAINED, DeadLetterRecord, Quarantined, Record, SettledDelivery

PAGE = 1_000
BUCKET = 1_024  # offsets whose outcomes have one subject
_WRONG_ID = 10070
_NO_ID = "?"  # the message id of nothing


class Stand(NamedTuple):
    """How the log stands: which it is, its oldest offset, its newest, its bytes, how long ids are known (s), the server's clock."""

    epoch: str
    first: int
    last: int
    size: int
    dedupe_s: float
    now: str


class Ids(NamedTuple):
    """Of some ids: the records that are there, and for each other the message id under which it may be appended."""

    found: dict[str, Msg]
    free: dict[str, str]


class Reads(Linked):
    """The questions to the bus of that name."""

    def __init__(self, server: Server, bus: Bus) -> None:
        super().__init__(server, bus)
        self._bus = bus.name
        self._beside = f"{bus.name}-meta"
        # By cursor, the revision that was seen last and its place; only who replaces that place replaces that revision.
        self._revisions: dict[str, tuple[int, int]] = {}
        self._again: dict[str, str] = {}  # by event id, the message id under which it came again after it was trimmed

    # --- the log -------------------------------------------------------------------------------------------------------

    @question
    async def read(
        self, wire: Wire, after: int, limit: int, types: Iterable[str] | None, until: int | None
    ) -> list[Record]:
        chosen = None if types is None else {*types}
        if chosen == set():
            return []
        found, more, at = list[Record](), True, after
        under = None if chosen is None else f"{self._bus}.*.{subject_of(chosen)}"
        while more and len(found) < limit and (until is None or at < until):
            page, more = await self._page(wire, at, limit - len(found), until, under)
            at = place_of(page[-1]) if page else at
            found += [each for each in await self._sound(wire, page) if chosen is None or _is_of(each.type, chosen)]
        await self._refuse_gone(wire, found[0].offset if found else 0, after, until)
        return found

    @question
    async def bodies(self, wire: Wire, after: int, limit: int, until: int | None) -> list[tuple[int, bytes]]:
        found, more, at = list[tuple[int, bytes]](), True, after
        while more and len(found) < limit and (until is None or at < until):
            page, more = await self._page(wire, at, limit - len(found), until)
            found += [(place_of(message), message.data) for message in page]
            at = found[-1][0] if found else at
        await self._refuse_gone(wire, found[0][0] if found else 0, after, until)
        return found

    async def find(self, event_id: str) -> Record | None:
        """By the id, as long as the server knows it; then by reading the log, up to what it must know."""
        record, since = await self._find(event_id)
        if record is None:
            async for each, stored in self._log():
                if datetime.fromisoformat(stored).timestamp() >= since:
                    break
                if each.event_id == event_id:
                    return each
        return record

    async def related(self, correlation_id: str, limit: int) -> list[Record]:
        """From the root on, since no cause comes after what it caused."""
        root, _ = await self._find(correlation_id)
        found: list[Record] = []
        async for each, _ in self._log(0 if root is None else root.offset - 1):
            if correlation_id in (each.correlation_id, each.event_id):
                found.append(each)
            if len(found) >= limit:
                break
        return found

    async def seek(self, time_ns: int) -> int:
        """Wall-clock labels need not ascend, so this looks at each."""
        last = (await self._where()).last  # before the look: nobody looks at what comes after it
        async for each, _ in self._log():
            if each.time_ns >= time_ns:
                return each.offset - 1
            last = max(last, each.offset)
        return last

    async def _log(self, after: int = 0) -> AsyncIterator[tuple[Record, str]]:
        """Every record beyond, and when the server stored it, a question for each page."""
        more = True
        while more:
            page, more = await self._records(after)
            for record, stored in page:
                yield record, stored
                after = record.offset

    @question
    async def _records(self, wire: Wire, after: int) -> tuple[list[tuple[Record, str]], bool]:
        page, more = await self._page(wire, after, PAGE, None)
        return [*zip(await self._sound(wire, page), map(stored_at, page), strict=True)], more

    @question
    async def _find(self, wire: Wire, event_id: str) -> tuple[Record | None, float]:
        """A record by its id, and since when ids are known."""
        found = (await self._ids(wire, [event_id])).found
        stand = await self._stand(wire)
        record = (await self._sound(wire, [*found.values()]))[0] if found else None
        return record, datetime.fromisoformat(stand.now).timestamp() - stand.dedupe_s

    @question
    async def _where(self, wire: Wire) -> Stand:
        return await self._stand(wire)

    # --- what is kept beside -------------------------------------------------------------------------------------------

    @question
    async def outcomes(self, wire: Wire, offsets: Sequence[int]) -> list[SettledDelivery]:
        wanted, found = {*offsets}, dict[tuple[int, str], SettledDelivery]()
        for bucket in sorted({offset // BUCKET for offset in wanted}):
            for message in await self._all(wire, f"outcome.{bucket}.>"):
                name, settled = unpacked(message)[0]
                found |= {
                    (each[0], name): SettledDelivery(group_of(name), *each) for each in settled if each[0] in wanted
                }
        return [outcome for _, outcome in sorted(found.items())]

    @question
    async def dead_letters(
        self, wire: Wire, after: int, limit: int, subscription: str | None, redriven: bool
    ) -> list[DeadLetterRecord]:
        under, found, more = f"{self._bus}.meta.dead.{_of(subscription)}.*", list[DeadLetterRecord](), True
        while more and len(found) < limit:
            page, more = await wire.page(self._beside, after, min(limit, PAGE), under)
            after = place_of(page[-1]) if page else after
            marks = {subject(mark) for mark in await wire.last(self._beside, [*map(self._mark_of, page)])}
            for message in page:
                is_marked = self._mark_of(message) in marks
                fields, body = unpacked(message)
                if redriven or not is_marked:
                    found.append(DeadLetterRecord._make((place_of(message), *fields, body, is_marked)))
        return found[:limit]

    @question
    async def count_dead_letters(self, wire: Wire, subscription: str | None, redriven: bool) -> int:
        letters = await self._count(wire, f"dead.{_of(subscription)}.*")
        return letters if redriven else letters - await self._count(wire, f"redriven.{_of(subscription)}.*")

    @question
    async def quarantined(self, wire: Wire, after: int, limit: int) -> list[Quarantined]:
        page, _ = await wire.page(self._beside, after, limit, f"{self._bus}.meta.quarantine.*")
        return [Quarantined._make((place_of(each), *unpacked(each)[0], unpacked(each)[1])) for each in page]

    @question
    async def count_quarantined(self, wire: Wire) -> int:
        return await self._count(wire, "quarantine.*")

    @question
    async def values(self, wire: Wire, space: str) -> dict[str, bytes]:
        """What is retained is in the log; beside it there is only what was trimmed away."""
        known: dict[str, bytes] = {}
        upto = (await self._folded(wire))[1] if space == RETAINED else 0
        for message in await self._all(wire, f"value.{word(space)}.*"):
            (_, name, is_there), value = unpacked(message)
            known.pop(name, None)
            if is_there:
                known[name] = value
        if space == RETAINED:
            known |= {retained_as(message): message.data for message in await self._retained(wire, upto)}
        return dict(sorted(known.items()))

    @question
    async def members(self, wire: Wire) -> Mapping[str, float]:
        beats = {unpacked(message)[0][0]: stored_at(message) for message in await self._all(wire, "member.*")}
        now = datetime.fromisoformat((await self._stand(wire)).now)
        return {name: (now - datetime.fromisoformat(beat)).total_seconds() for name, beat in sorted(beats.items())}

    @question
    async def fetch(self, wire: Wire, names: Collection[str] | None) -> list[Row]:
        if names is None:
            return self._rows(await self._all(wire, "cursor.*"))
        return self._rows(await wire.last(self._beside, [self._under("cursor", name) for name in names]))

    # --- within a call -------------------------------------------------------------------------------------------------

    def _under(self, *path: str) -> str:
        """The subject beside the log of such a path of names."""
        return f"{self._bus}.meta.{'.'.join(map(word, path))}"

    def _mark_of(self, letter: Msg) -> str:
        """The subject that says that a dead letter was published again."""
        return f"{self._bus}.meta.redriven.{subject(letter).split('.')[3]}.{place_of(letter)}"

    async def _stand(self, wire: Wire) -> Stand:
        said = await wire.api(f"STREAM.INFO.{self._bus}")
        state, dedupe_s = said["state"], said["config"]["duplicate_window"] / 1e9
        return Stand(
            said["created"], max(1, state["first_seq"]), state["last_seq"], state["bytes"], dedupe_s, said["ts"]
        )

    async def _page(
        self, wire: Wire, after: int, limit: int, until: int | None, under: str | None = None
    ) -> tuple[list[Msg], bool]:
        """Messages of the log, and whether there are more of them up to there."""
        if until is not None and under is None:
            limit = min(limit, until - after)
        page, more = await wire.page(self._bus, after, min(limit, PAGE), under)
        if until is not None and page and place_of(page[-1]) >= until:
            return [message for message in page if place_of(message) <= until], False
        return page, more

    async def _all(self, wire: Wire, under: str) -> list[Msg]:
        """Every message beside the log under such subjects, in the order in which they were stored."""
        found, more, after = list[Msg](), True, 0
        while more:
            page, more = await wire.page(self._beside, after, PAGE, f"{self._bus}.meta.{under}")
            found += page
            after = place_of(page[-1]) if page else after
        return found

    async def _count(self, wire: Wire, under: str) -> int:
        found, _ = await wire.page(self._beside, 0, 1, f"{self._bus}.meta.{under}")
        return int((found[0].headers or {})["Nats-Num-Pending"]) + 1 if found else 0

    async def _retained(self, wire: Wire, after: int, until: int | None = None) -> list[Msg]:
        found, more = list[Msg](), True
        while more:
            page, more = await self._page(wire, after, PAGE, until, f"{self._bus}.retained.>")
            found += page
            after = place_of(page[-1]) if page else after
        return found

    async def _folded(self, wire: Wire) -> tuple[int, int]:
        """Up to where what the log retains is kept beside it too: the place of the message that says so, and the offset."""
        said = await wire.last(self._beside, [self._under("folded")])
        return (place_of(said[0]), unpacked(said[0])[0][0]) if said else (0, 0)

    async def _ids(self, wire: Wire, event_ids: Collection[str]) -> Ids:
        """Ask for each id by a message that cannot be stored: the server tells where the id is, or refuses.

        It knows an id longer than the record is there; after that the record is appended under an id made from the place it had. But
        once it started again it knows the ids of what is there, and no others.
        """
        ids, again = Ids({}, {}), {**self._again}
        asked = {event_id: message_id(event_id) for event_id in event_ids}
        while asked:
            puts = [Put(f"{self._bus}.log.known", b"", {MSG_ID: id_, EXPECTED_ID: _NO_ID}) for id_ in asked.values()]
            told = dict(zip(asked, await wire.store_each(puts), strict=True))
            for event_id, answer in told.items():
                if isinstance(answer, Refused):
                    if answer.code != _WRONG_ID:
                        raise answer
                    ids.free.setdefault(event_id, asked.pop(event_id))
                    if event_id in again:
                        asked[event_id] = again.pop(event_id)
            places = {event_id: answer.place for event_id, answer in told.items() if isinstance(answer, Ack)}
            messages = await wire.at(self._bus, [*places.values()])
            for (event_id, place), message in zip(places.items(), messages, strict=True):
                if message is None:
                    asked[event_id] = f"{message_id(event_id)}@{place}"
                else:
                    ids.found[event_id] = message
                    ids.free.pop(event_id, None)
                    del asked[event_id]
        return ids

    def _rows(self, messages: Sequence[Msg]) -> list[Row]:
        rows: dict[str, Row] = {}
        for message in messages:
            row = Row(*unpacked(message)[0])
            rows[row.name] = row
            self._revisions[row.name] = row.revision, place_of(message)
        return [row for _, row in sorted(rows.items())]

    async def _sound(self, wire: Wire, messages: Sequence[Msg]) -> list[Record]:
        """The records of messages, each as it was appended."""
        records = [*map(as_record, messages)]
        if altered := [record.offset for record, is_sound in records if not is_sound]:
            raise damaged(self.server.place, altered[0], (await self._stand(wire)).last, "a record is altered")
        return [record for record, _ in records]

    async def _refuse_gone(self, wire: Wire, found: int, after: int, until: int | None) -> None:
        if found == after + 1:
            return
        stand = await self._stand(wire)
        if after + 1 < stand.first and after < stand.last and (until is None or until > after):
            raise OffsetGone(after + 1, stand.first)


def _of(subscription: str | None) -> str:
    return "*" if subscription is None else word(subscription)


def _is_of(type_: str, types: Iterable[Any]) -> bool:
    return any(fnmatchcase(type_, each) for each in types)
