"""Tending: the commands that change a journal: dead letters, retention, repair. A file they need for themselves, as any writer does.

Each looks first, and opens the journal only when there is something to change.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from datetime import datetime
from typing import Annotated, Any, TypeVar

import typer

from eventbus.cli import render
from eventbus.cli.looking import Journal, Json
from eventbus.clock import SystemClock
from eventbus.codec import decode
from eventbus.durability.aside import REDRIVE
from eventbus.durability.leases import CONTROL
from eventbus.errors import CodecError, JournalDamaged
from eventbus.journal.backends import journal_at
from eventbus.journal.protocol import Journal as WritableJournal
from eventbus.journal.reader import JournalReader, open_reader
from eventbus.journal.sole import sharing_of
from eventbus.journal.values import DeadLetterRecord

app = typer.Typer()
letters = typer.Typer(help="Deliveries that nobody could handle.", no_args_is_help=True)

_ALL = 1_000_000_000
_LAST_ID = 2**63 - 1

T = TypeVar("T")
Ids = Annotated[
    list[int] | None, typer.Argument(help="Ids from `dead-letters list`.", show_default=False, min=1, max=_LAST_ID)
]
Subscription = Annotated[
    str | None, typer.Option("--subscription", "-s", help="Of this subscription only.", callback=render.text_only)
]
Everything = Annotated[bool, typer.Option("--all", help="All of them.")]


@letters.command("list")
def list_letters(
    journal: Journal,
    subscription: Subscription = None,
    redriven: Annotated[bool, typer.Option("--redriven", help="Those that were delivered again, too.")] = False,
    json: Json = False,
) -> None:
    """List dead letters, oldest first."""
    with open_reader(journal) as reader:
        found = reader.dead_letters(0, _ALL, subscription, redriven)
        asked = set(reader.values(REDRIVE))
    if json:
        for letter in found:
            render.emit(_as_dict(letter, asked))
        return
    render.show_table(
        ("id#", "last failed", "subscription", "type", "event", "attempts#", "reason", "redrive", "error~"),
        [
            (
                letter.id,
                render.moment(letter.last_failed_ns),
                letter.subscription,
                letter.type,
                letter.event_id,
                letter.attempts,
                letter.reason,
                _redrive(letter, asked),
                letter.error.partition("\n")[0],
            )
            for letter in found
        ],
        empty="no dead letters",
    )


@letters.command()
def show(
    journal: Journal,
    letter_id: Annotated[int, typer.Argument(help="Id from `dead-letters list`.", min=1, max=_LAST_ID)],
    json: Json = False,
) -> None:
    """Tell everything about one dead letter."""
    with open_reader(journal) as reader:
        letter = _one(reader.dead_letters(letter_id - 1, 1, None, True), letter_id)
        asked = set(reader.values(REDRIVE))
    row = _as_dict(letter, asked)
    if json:
        render.emit(row)
        return
    payload = row.pop("payload") or {}
    rows = [(name, value) for name, value in row.items() if value not in (None, "")]
    rows += [(f"payload.{name}", render.brief({"": value})[1:]) for name, value in payload.items()]
    render.show_table(("", ""), rows, empty="")


@letters.command()
def redrive(
    journal: Journal,
    ids: Ids = None,
    subscription: Subscription = None,
    everything: Everything = False,
    json: Json = False,
) -> None:
    """Have dead letters delivered again to their subscription, as soon as a bus with it runs on this journal."""
    with open_reader(journal) as reader:
        chosen = _chosen(reader, ids, subscription, everything)
        asked = reader.values(REDRIVE)
    new = {str(letter.id): b"1" for letter in chosen if str(letter.id) not in asked}

    async def ask(open_journal: WritableJournal) -> None:
        await open_journal.set_values(REDRIVE, dict(new))
        await sharing_of(open_journal).tell(CONTROL, b"redrive")

    if new:
        tended(journal, ask)
    count = len(chosen)
    _report(json, {"asked": count}, f"{count} will be delivered again when a bus with their subscription runs")


@letters.command()
def purge(
    journal: Journal,
    ids: Ids = None,
    subscription: Subscription = None,
    everything: Everything = False,
    json: Json = False,
) -> None:
    """Remove dead letters for good."""
    with open_reader(journal) as reader:
        gone = [letter.id for letter in _chosen(reader, ids, subscription, everything)]

    async def remove(open_journal: WritableJournal) -> int:
        await open_journal.set_values(REDRIVE, {str(id_): None for id_ in gone})
        return await open_journal.purge_dead_letters(gone)

    count = tended(journal, remove) if gone else 0
    _report(json, {"purged": count}, f"{count} removed")


@app.command()
def repair(
    journal: Journal,
    accept_end: Annotated[
        bool, typer.Option("--accept-end", help="Go on with what is there, when only the end is missing or in doubt.")
    ] = False,
    json: Json = False,
) -> None:
    """Make a journal whose end is missing or in doubt usable again. A sound one is left as it is."""
    if not accept_end:
        raise typer.BadParameter("how? --accept-end accepts the end as it is; 'eventbus verify' says what is wrong")
    try:
        with open_reader(journal) as reader:
            sound = reader.verify()
    except JournalDamaged as damage:
        if not damage.is_end:
            raise
        sound = tended(journal, lambda opened: opened.verify(), accept_end=True)
        lost = damage.expected - sound.last
        text = f"accepted: {sound.records} records, offsets {sound.first} to {sound.last}, {lost} known to be lost"
        _report(json, {"accepted": True, "lost": lost, **sound._asdict()}, text)
    else:
        text = f"sound: {sound.records} records, offsets {sound.first} to {sound.last}; nothing was changed"
        _report(json, {"accepted": False, "lost": 0, **sound._asdict()}, text)


@app.command()
def compact(
    journal: Journal,
    before: Annotated[
        str | None,
        typer.Option(help="Remove what is older: an offset, a time, or an age such as 30d.", callback=render.text_only),
    ] = None,
    max_bytes: Annotated[
        int | None, typer.Option(min=0, max=_LAST_ID, help="Remove the oldest beyond this size.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Even what a group has not read yet.")] = False,
    json: Json = False,
) -> None:
    """Remove the oldest events, never beyond the slowest group unless forced, and give the space back."""
    cut = render.place(before, SystemClock().now())

    async def trim(open_journal: WritableJournal) -> dict[str, Any]:
        removed = 0
        overtaken: tuple[str, ...] = ()
        if cut is not None or max_bytes is not None:
            trimmed = await open_journal.trim(
                before=cut if isinstance(cut, int) else None,
                before_ns=render.nanoseconds(cut) if isinstance(cut, datetime) else None,
                max_bytes=max_bytes,
                force=force,
            )
            removed, overtaken = trimmed.removed, trimmed.overtaken
        size = await open_journal.compact()
        return {"removed": removed, "first": open_journal.first, "file_bytes": size, "overtaken": list(overtaken)}

    done = tended(journal, trim)
    text = f"{done['removed']} removed, the oldest is {done['first']}, the file has {render.size(done['file_bytes'])}"
    if done["overtaken"]:
        text += f"; not read by then: {', '.join(done['overtaken'])}"
    _report(json, done, text)


def tended(journal: str, change: Callable[[WritableJournal], Awaitable[T]], **settings: bool) -> T:
    """Open a journal that is there, change it, close it. Raises `JournalInUse` while a bus has a file."""
    open_reader(journal).close()  # says so if there is none

    async def tend() -> T:
        async with journal_at(journal, **settings) as open_journal:
            return await change(open_journal)

    return asyncio.run(tend())


def _chosen(
    reader: JournalReader, ids: list[int] | None, subscription: str | None, everything: bool
) -> list[DeadLetterRecord]:
    if not ids and not subscription and not everything:
        raise typer.BadParameter("which? Give ids, --subscription, or --all")
    found = reader.dead_letters(0, _ALL, subscription, False)
    if not ids:
        return found
    by_id = {letter.id: letter for letter in found}
    for id_ in ids:
        _one([by_id[id_]] if id_ in by_id else [], id_)
    return [by_id[id_] for id_ in ids]


def _one(found: list[DeadLetterRecord], id_: int) -> DeadLetterRecord:
    if not found or found[0].id != id_:
        raise LookupError(f"no dead letter {id_}: 'eventbus dead-letters list' names those there are")
    return found[0]


def _as_dict(letter: DeadLetterRecord, asked: set[str]) -> dict[str, Any]:
    row = letter._asdict()
    row["first_failed"], row["last_failed"] = (
        render.moment(row.pop(name)) for name in ("first_failed_ns", "last_failed_ns")
    )
    row["redrive_asked"] = str(letter.id) in asked
    try:
        row["payload"] = decode(row.pop("body")).payload
    except CodecError as error:
        row |= {"payload": None, "unreadable": str(error)}
    return row


def _redrive(letter: DeadLetterRecord, asked: set[str]) -> str:
    if letter.redriven:
        return "done"
    return "asked" if str(letter.id) in asked else ""


def _report(json: bool, value: dict[str, Any], text: str) -> None:
    if json:
        render.emit(value)
    else:
        render.say(text)
