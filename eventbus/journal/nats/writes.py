"""Writes: the changes of a bus in its two streams, each one batch that is stored whole or not at all. They are as `Storage` says.

What a change replaces it names by its place in the stream, so that the server refuses one that comes too late.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterator, Mapping, Sequence
from itertools import groupby

from nats.aio.msg import Msg

from eventbus.errors import LeaseLost, ValueChanged
from eventbus.journal.nats.leases import TRIES, WRONG_LAST, Leases
from eventbus.journal.nats.messages import (
    EXPECTED,
    TTL,
    Put,
    as_put,
    lasting,
    message_id,
    packed,
    place_of,
    retained_as,
    subject,
    unpacked,
)
from eventbus.journal.nats.reads import BUCKET
from eventbus.journal.nats.server import MOST, Ack, Refused, Wire
from eventbus.journal.parts import group_of
from eventbus.journal.progress import floor_of
from eventbus.journal.remote.appends import told_apart
from eventbus.journal.remote.cursors import Row, Verdict, Write
from eventbus.journal.remote.link import change
from eventbus.journal.values import RETAINED, Append, Appended, NewDeadLetter, NewQuarantined, NewRecords, Start

_KNOWN_ID = 10201
_TRIMMED = 64 * BUCKET  # records removed in one call
_SPARE = 10  # messages of a batch that are for other things than dead letters
_NEVER = 2**62  # a place that no message has


class Writes(Leases):
    """The changes of the bus."""

    # --- records -----------------------------------------------------------------------------------------------------

    @change("appending")
    async def append(self, wire: Wire, batch: Sequence[Append]) -> NewRecords | None:
        if len(batch) > MOST or (self._again and any(item.event_id in self._again for item in batch)):
            return None  # looked at first: of more than that all is refused or nothing, and of those the server knows too little
        answer = await self._append(wire, [as_put(self._bus, item, message_id(item.event_id)) for item in batch])
        if answer is None or answer.duplicate:
            return None
        return NewRecords(range(answer.place + 1 - len(batch), answer.place + 1))

    @change("appending")
    async def append_carefully(self, wire: Wire, batch: Sequence[Append]) -> list[Appended]:
        placed: dict[str, int] = {}  # by this call
        while True:
            ids = await self._ids(wire, {item.event_id for item in batch})
            there = [*zip(ids.found, await self._sound(wire, [*ids.found.values()]), strict=True)]
            known = {event_id: (record.offset, record.type, record.body) for event_id, record in there}
            _, fresh = told_apart(batch, known, 0)
            if await self._append_fresh(wire, [*fresh], ids.free, placed):
                break  # nobody else appended one of them meanwhile
        places = {event_id: known[event_id][0] for event_id in known} | placed
        return [Appended(places[item.event_id], placed.pop(item.event_id, None) is None) for item in batch]

    async def _append_fresh(
        self, wire: Wire, fresh: Sequence[Append], ids: Mapping[str, str], placed: dict[str, int]
    ) -> bool:
        await self._note_again(wire, {item.event_id: ids[item.event_id] for item in fresh})
        for at in range(0, len(fresh), MOST):
            some = fresh[at : at + MOST]
            answer = await self._append(wire, [as_put(self._bus, item, ids[item.event_id]) for item in some])
            if answer is None or answer.duplicate:
                return False
            placed.update((item.event_id, answer.place + 1 - len(some) + nth) for nth, item in enumerate(some))
        return True

    async def _note_again(self, wire: Wire, ids: Mapping[str, str]) -> None:
        """For every process, and for the time after a restart of the server: which of these are appended under an id of another name."""
        if again := {event_id: id_ for event_id, id_ in ids.items() if id_ != message_id(event_id)}:
            ttl = {TTL: lasting(2 * (await self._stand(wire)).dedupe_s)}
            await self._add(
                wire, [Put(self._under("again", each), packed([each, id_]), ttl) for each, id_ in again.items()]
            )
            self._again |= again

    async def _append(self, wire: Wire, puts: Sequence[Put]) -> Ack | None:
        """None if one of several ids is known."""
        try:
            return await wire.store(puts)
        except Refused as refused:
            if refused.code == _KNOWN_ID:
                return None
            raise

    @change("tending")
    async def trim(self, wire: Wire, cut: int, force: bool) -> tuple[int, int]:
        for _ in range(TRIES):
            place, _first = await self._base(wire)
            stand = await self._stand(wire)
            floors = [] if force else [row.floor for row in self._rows(await self._all(wire, "cursor.*"))]
            upto = min(cut, stand.first - 1 + _TRIMMED, *floors)
            if upto < stand.first:
                return 0, stand.first
            await self._fold(wire, upto)
            try:
                await wire.store([Put(self._under("base"), packed([upto + 1]), {EXPECTED: str(place)})])
            except Refused as refused:
                if refused.code not in WRONG_LAST:
                    raise
                continue  # somebody made a cursor meanwhile
            await wire.api(f"STREAM.PURGE.{self._bus}", {"seq": upto + 1})
            for bucket in range(stand.first // BUCKET, (upto + 1) // BUCKET):
                await wire.api(f"STREAM.PURGE.{self._beside}", {"filter": f"{self._bus}.meta.outcome.{bucket}.>"})
            return upto + 1 - stand.first, upto + 1
        raise self._busy()

    async def _fold(self, wire: Wire, upto: int) -> None:
        """Keep what the log retains up to there beside it, before it is removed."""
        place, at = await self._folded(wire)
        while at < upto:
            page, more = await self._page(wire, at, MOST - 1, upto, f"{self._bus}.retained.>")
            at = place_of(page[-1]) if more else upto
            newest = {retained_as(message): message.data for message in page}
            puts = [self._as_value(RETAINED, name, value) for name, value in newest.items()]
            puts.append(Put(self._under("folded"), packed([at]), {EXPECTED: str(place)}))
            place = (await wire.store(puts)).place

    async def compact(self) -> int:
        """The server gives the space of what was removed back by itself."""
        return max(1, (await self._where()).size)

    # --- cursors -----------------------------------------------------------------------------------------------------

    @change("tending")
    async def open_cursor(self, wire: Wire, name: str, start: Start, token: int) -> Row:
        for _ in range(TRIES):
            under = {each: self._under(each, name) for each in ("lease", "cursor")}
            found = {subject(each): each for each in await wire.last(self._beside, [*under.values()])}
            self._seen(name, found.get(under["lease"]))
            if token and not self._holds(name, token):
                raise LeaseLost(name, token)
            if under["cursor"] in found:
                return self._rows([found[under["cursor"]]])[0]
            place, first = await self._base(wire)
            stand = await self._stand(wire)
            row = Row(name, 1, floor_of(start, max(stand.first, min(first, stand.last + 1)), stand.last), "", "", "")
            puts = [
                *self._fence(name, token),
                Put(self._under("base"), packed([first]), {EXPECTED: str(place)}),
                Put(under["cursor"], packed(row), {EXPECTED: "0"}),
            ]
            try:
                self._revisions[name] = 1, (await wire.store(puts)).place
            except Refused as refused:
                if refused.code not in WRONG_LAST:
                    raise
            else:
                return row
        raise self._busy()

    @change("tending")
    async def drop_group(self, wire: Wire, group: str) -> bool:
        rows = self._rows(await self._all(wire, "cursor.*"))
        names = [row.name for row in rows if group in (row.name, group_of(row.name))]
        purged = [await self._purge(wire, self._under("cursor", name)) for name in names]
        return any(purged)

    @change("settling")
    async def write(self, wire: Wire, writes: Sequence[Write]) -> list[Verdict]:
        """All in one batch if it is not too large, with the lease of each held where the batch is stored."""
        verdicts: dict[str, Verdict] = {}
        for _ in range(TRIES):
            left = [write for write in writes if write.row.name not in verdicts]
            for some in _batches([(write, self._as_puts(write)) for write in left]):
                try:
                    await self._write(wire, some)
                except Refused as refused:
                    if refused.code not in WRONG_LAST:
                        raise
                    await self._judge(wire, [write for write, _ in some], verdicts)
                else:
                    verdicts |= {write.row.name: Verdict.WRITTEN for write, _ in some}
            if len(verdicts) == len(writes):
                return [verdicts[write.row.name] for write in writes]
        raise self._busy()

    async def _write(self, wire: Wire, some: Sequence[tuple[Write, Sequence[Put]]]) -> None:
        puts = [put for _, each in some for put in each]
        while (
            len(puts) > MOST
        ):  # one cursor with more dead letters than a batch takes: some of them first, so that none is lost
            (write, _), *_ = some
            await wire.store([*self._fence(write.row.name, write.token), *puts[_SPARE - MOST :]])
            del puts[_SPARE - MOST :]
        place = (await wire.store(puts)).place - len(puts)
        for write, each in some:
            at = next(nth for nth, put in enumerate(each, 1) if put.subject == self._under("cursor", write.row.name))
            self._revisions[write.row.name] = write.row.revision + 1, place + at
            place += len(each)

    async def _judge(self, wire: Wire, writes: Sequence[Write], verdicts: dict[str, Verdict]) -> None:
        """What stands in the way of these. A lease that was renewed meanwhile does not: it is tried again."""
        known = {write.row.name: self._revisions.pop(write.row.name, None) for write in writes}
        await self._owners(wire, [write.row.name for write in writes if write.token])
        self._rows(await wire.last(self._beside, [self._under("cursor", name) for name in known]))
        for write in writes:
            name, place = write.row.name, known[write.row.name]
            if write.token and not self._holds(name, write.token):
                verdicts[name] = Verdict.LOST
            elif place is None or place[0] != write.row.revision or place != self._revisions.get(name):
                verdicts[name] = Verdict.OUTDATED

    def _as_puts(self, write: Write) -> list[Put]:
        row, outcomes = write.row, list[Put]()
        known, place = self._revisions.get(row.name, (0, 0))
        expected = str(place if known == row.revision else _NEVER)
        for bucket, settled in groupby(sorted(write.outcomes), lambda each: each.offset // BUCKET):
            path = ("outcome", str(bucket), row.name, secrets.token_hex(6))
            outcomes.append(Put(self._under(*path), packed([row.name, [*settled]])))
        return [
            *self._fence(row.name, write.token),
            Put(
                self._under("cursor", row.name),
                packed([row.name, row.revision + 1, *row[2:]]),
                {EXPECTED: expected},
            ),
            *outcomes,
            *map(self._as_letter, write.dead),
            *map(self._as_quarantined, write.quarantined),
        ]

    # --- what is kept beside -----------------------------------------------------------------------------------------

    @change("tending")
    async def add_dead_letters(self, wire: Wire, letters: Sequence[NewDeadLetter]) -> list[int]:
        return await self._add(wire, [*map(self._as_letter, letters)])

    @change("tending")
    async def add_quarantined(self, wire: Wire, items: Sequence[NewQuarantined]) -> list[int]:
        return await self._add(wire, [*map(self._as_quarantined, items)])

    @change("tending")
    async def mark_redriven(self, wire: Wire, ids: Sequence[int]) -> int:
        marks = [self._mark_of(letter) for letter in await self._letters(wire, ids)]
        told = await wire.store_each([Put(mark, b"", {EXPECTED: "0"}) for mark in marks])
        return sum(isinstance(answer, Ack) for answer in told)

    @change("tending")
    async def purge_dead_letters(self, wire: Wire, ids: Sequence[int] | None) -> int:
        if ids is None:
            await self._purge(wire, f"{self._bus}.meta.redriven.>")
            return await self._purge(wire, f"{self._bus}.meta.dead.>")
        count = 0
        for letter in await self._letters(wire, ids):
            await self._purge(wire, self._mark_of(letter))
            count += await self._purge(wire, subject(letter))
        return count

    @change("tending")
    async def set_values(self, wire: Wire, space: str, values: Mapping[str, bytes | None]) -> None:
        await self._add(wire, [self._as_value(space, name, value) for name, value in sorted(values.items())])

    @change("tending")
    async def put_if(self, wire: Wire, space: str, name: str, value: bytes | None, version: int) -> int:
        """A version is the place of the message; one that was removed leaves a message that says so."""
        put = self._as_value(space, name, value)
        if version >= 0:
            try:
                return (await wire.store([put._replace(headers={EXPECTED: str(version)})])).place
            except Refused as refused:
                if refused.code not in WRONG_LAST:
                    raise
        found = await wire.last(self._beside, [put.subject])
        (_, _, is_there), there = unpacked(found[0]) if found else ((0, 0, False), b"")
        raise ValueChanged(space, name, version, place_of(found[0]) if found else 0, there if is_there else None)

    # --- within a call -------------------------------------------------------------------------------------------------

    async def _add(self, wire: Wire, puts: Sequence[Put]) -> list[int]:
        """The places of new messages, which replace what was under their subjects."""
        places: list[int] = []
        for at in range(0, len(puts), MOST):
            some = puts[at : at + MOST]
            end = (await wire.store(some)).place
            places += range(end + 1 - len(some), end + 1)
        return places

    async def _letters(self, wire: Wire, ids: Sequence[int]) -> list[Msg]:
        """The dead letters among these messages, each once."""
        found = await wire.at(self._beside, sorted({*ids}))
        return [each for each in found if each and subject(each).startswith(f"{self._bus}.meta.dead.")]

    async def _purge(self, wire: Wire, under: str) -> int:
        """Remove what is under a subject; gives how many messages that were."""
        return int((await wire.api(f"STREAM.PURGE.{self._beside}", {"filter": under}))["purged"])

    async def _base(self, wire: Wire) -> tuple[int, int]:
        """The oldest offset that trimming is to leave, and the place of the message that says so: each new cursor is stored on it,
        so that none begins at what is being removed."""
        said = await wire.last(self._beside, [self._under("base")])
        return (place_of(said[0]), unpacked(said[0])[0][0]) if said else (0, 1)

    def _as_letter(self, letter: NewDeadLetter) -> Put:
        return Put(self._under("dead", letter.subscription, secrets.token_hex(8)), packed(letter[:-1], letter.body))

    def _as_quarantined(self, item: NewQuarantined) -> Put:
        return Put(self._under("quarantine", secrets.token_hex(8)), packed(item[:-1], item.raw))

    def _as_value(self, space: str, name: str, value: bytes | None) -> Put:
        return Put(self._under("value", space, name), packed([space, name, value is not None], value or b""))


def _batches(writes: Sequence[tuple[Write, Sequence[Put]]]) -> Iterator[list[tuple[Write, Sequence[Put]]]]:
    """As many together as a batch holds, one at least."""
    some, size = list[tuple[Write, Sequence[Put]]](), 0
    for each in writes:
        if some and size + len(each[1]) > MOST:
            yield some
            some, size = [], 0
        some.append(each)
        size += len(each[1])
    if some:
        yield some
