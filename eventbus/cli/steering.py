"""Steering: the commands that change what running processes do: set the halt, clear it; and who reads what, how far.

On a server they work beside everybody. A journal file is one process's: a bus that has it is halted by itself.
"""

from __future__ import annotations

import uuid
from collections.abc import Awaitable, Callable
from typing import Annotated, Any

import typer
from pydantic_core import from_json, to_json

from eventbus.cli import render
from eventbus.cli.looking import Journal, Json
from eventbus.cli.tending import tended
from eventbus.clock import SystemClock
from eventbus.durability.aside import LATCH
from eventbus.durability.leases import CONTROL
from eventbus.errors import PolicyConflict, ValueChanged
from eventbus.journal.parts import split_part
from eventbus.journal.protocol import Journal as WritableJournal
from eventbus.journal.reader import open_reader
from eventbus.journal.shared import Sharing
from eventbus.journal.sole import sharing_of

app = typer.Typer()

Reason = Annotated[str, typer.Option("--reason", help="Why, for whoever meets it.", callback=render.text_only)]


@app.command()
def groups(journal: Journal, json: Json = False) -> None:
    """List groups, by part where processes share them: how far each is, and what it did."""
    with open_reader(journal) as reader:
        last = reader.last()
        rows: list[dict[str, Any]] = []
        for cursor in reader.cursors():
            group, part = split_part(cursor.group) or (cursor.group, 0)
            settled = sum(end - first + 1 for first, end in cursor.settled)
            rows.append(
                {"group": group, "part": part, "floor": cursor.floor, "behind": last - cursor.floor}
                | {"pending": last - cursor.floor - settled, "in_flight": len(cursor.attempts)}
                | {"totals": dict(cursor.totals)}
            )
    rows.sort(key=lambda row: (row["group"], row["part"]))
    if json:
        for row in rows:
            render.emit(row)
        return
    render.show_table(
        ("group", "part#", "floor#", "behind#", "pending#", "in flight#", "outcomes"),
        [(*[*row.values()][:-1], render.brief(row["totals"])) for row in rows],
        empty="no groups",
    )


@app.command()
def halt(journal: Journal, reason: Reason, json: Json = False) -> None:
    """Set the halt: EXECUTION events are refused by every process on this journal. Prints the token that clears it."""
    asked = {"reason": reason, "token": uuid.uuid4().hex}

    async def set_it(there: dict[str, str] | None, put: Callable[[bytes | None], Awaitable[None]]) -> dict[str, str]:
        if there is None:
            await put(to_json(asked))
        return there or asked

    found = tended(journal, lambda opened: _changing(opened, set_it))
    if json:
        render.emit(found | {"new": found is asked})
    else:
        render.say(f"{'halted' if found is asked else 'halted already'}: {found['reason']}; token {found['token']}")


@app.command()
def rearm(
    journal: Journal,
    token: Annotated[str | None, typer.Option("--token", help="The one that `halt` printed.")] = None,
    force: Annotated[bool, typer.Option("--force", help="Without the token; then give a --reason.")] = False,
    reason: Annotated[str | None, typer.Option("--reason", help="Why it is forced.", callback=render.text_only)] = None,
    json: Json = False,
) -> None:
    """Clear the halt: EXECUTION events are accepted again, in every process on this journal."""
    if (token is None) != force or (force and not reason):
        raise typer.BadParameter("how? --token T, or --force --reason TEXT")

    async def clear(there: dict[str, str] | None, put: Callable[[bytes | None], Awaitable[None]]) -> dict[str, str]:
        if there is None:
            raise LookupError("nothing is halted")
        if not force and token != there["token"]:
            raise PolicyConflict("token", "is not the one that halt printed")
        await put(None)
        return there

    async def work(opened: WritableJournal) -> dict[str, str]:
        found = await _changing(opened, clear)
        if force:
            note = to_json({"was": found["reason"], "reason": reason, "at": render.moment_of(SystemClock().now())})
            await opened.set_values(LATCH, {"forced": note})
        return found

    found = tended(journal, work)
    if json:
        render.emit({"was": found["reason"]})
    else:
        render.say(f"rearmed; it was halted: {found['reason']}")


async def _changing(
    journal: WritableJournal,
    decide: Callable[[dict[str, str] | None, Callable[[bytes | None], Awaitable[None]]], Awaitable[dict[str, str]]],
) -> dict[str, str]:
    """Decide on the halt that is there, and decide again if somebody was faster; then tell everybody to look."""
    sharing: Sharing = sharing_of(journal)
    while True:
        there = ValueChanged(LATCH, "halt", 0, 0, None)
        try:
            await sharing.put_if(LATCH, "halt", None, -1)
        except ValueChanged as found:
            there = found
        version = there.version

        async def put(value: bytes | None, version: int = version) -> None:
            await sharing.put_if(LATCH, "halt", value, version)
            await sharing.tell(CONTROL, b"latch")

        try:
            return await decide(None if there.value is None else from_json(there.value), put)
        except ValueChanged:
            continue
