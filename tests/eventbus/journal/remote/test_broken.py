"""The contract of a shared journal sees what it is there to see: a journal that breaks a promise goes red."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from typing import Any, cast

import pytest

from eventbus.errors import LeaseLost
from eventbus.journal.backends import journal_at
from eventbus.journal.remote.journal import RemoteJournal
from eventbus.journal.shared import Lease, Part
from eventbus.journal.values import Cursor, Start
from eventbus.testing.shared_contract import SharedJournalContract
from eventbus.testing.shared_contract.opened import BRIEF, Two, joined, until

pytestmark = pytest.mark.server

CONTRACT = SharedJournalContract()

LOOKS: dict[tuple[str, str], int] = {}
"""By log and part, the token under which its cursor was last looked at."""


async def unfenced(journal: RemoteJournal, part: Part) -> int:
    return await journal.commit(
        part.lease.name, part.settled, skip=part.skip, dead=part.dead, quarantined=part.quarantined
    )


def without_fence(journal: RemoteJournal) -> RemoteJournal:
    """Commits whatever token it is given."""

    async def commit_parts(parts: Sequence[Part]) -> Sequence[int | LeaseLost]:
        return [await unfenced(journal, part) for part in parts]

    return patched(journal, commit_parts=commit_parts)


def looking_first(journal: RemoteJournal) -> RemoteJournal:
    """Looks at the lease, and commits when it is another's by then."""

    async def commit_parts(parts: Sequence[Part]) -> Sequence[int | LeaseLost]:
        answers: list[int | LeaseLost] = []
        for part in parts:
            (seen,) = await RemoteJournal.commit_parts(journal, [Part(part.lease)])
            if isinstance(seen, LeaseLost):
                answers.append(seen)
                continue
            while not isinstance(seen, LeaseLost):  # a garbage collection, a slow network
                await asyncio.sleep(0.05)
                (seen,) = await RemoteJournal.commit_parts(journal, [Part(part.lease)])
            await until(partial(next_owner_has_looked, part.lease))
            answers.append(await unfenced(journal, part))
        return answers

    async def open_part(lease: Lease, start: Start) -> Cursor:
        cursor = await RemoteJournal.open_part(journal, lease, start)
        LOOKS[journal.epoch, lease.name] = lease.token
        return cursor

    async def next_owner_has_looked(lease: Lease) -> bool:
        return LOOKS[journal.epoch, lease.name] > lease.token

    return patched(journal, commit_parts=commit_parts, open_part=open_part)


def renewing_late(journal: RemoteJournal) -> RemoteJournal:
    """Commits, and only then finds out by renewing whether the lease is still its own."""

    async def commit_parts(parts: Sequence[Part]) -> Sequence[int | LeaseLost]:
        floors = [await unfenced(journal, part) for part in parts]
        held = await journal.renew([part.lease for part in parts])
        kept = {lease[:2] for lease in held}
        return [
            floor if part.lease[:2] in kept else LeaseLost(part.lease.name, part.lease.token)
            for part, floor in zip(parts, floors, strict=True)
        ]

    return patched(journal, commit_parts=commit_parts)


def renewing_anybody(journal: RemoteJournal) -> RemoteJournal:
    """Renews by name, and does not look at the token."""

    async def renew(leases: Sequence[Lease]) -> Sequence[Lease]:
        await RemoteJournal.renew(journal, leases)
        return leases

    return patched(journal, renew=renew)


def patched(journal: RemoteJournal, **calls: Callable[..., Any]) -> RemoteJournal:
    for name, call in calls.items():
        setattr(journal, name, call)
    return journal


@pytest.fixture
async def two(bus_url: str, request: pytest.FixtureRequest) -> AsyncIterator[Two]:
    def make() -> RemoteJournal:
        broken: RemoteJournal = request.param(cast(RemoteJournal, journal_at(bus_url)))
        return broken

    async with joined(make, BRIEF) as one, joined(make) as other:
        yield one, other


@pytest.mark.parametrize("two", [without_fence, renewing_late], indirect=True)
async def test_a_former_owner_that_changes_something_is_seen(two: Two) -> None:
    with pytest.raises(AssertionError):
        await CONTRACT.test_a_former_owner_changes_nothing(two)


@pytest.mark.parametrize("two", [looking_first], indirect=True)
async def test_a_commit_that_is_made_after_the_lease_went_is_seen(two: Two) -> None:
    with pytest.raises(AssertionError):
        await CONTRACT.test_nothing_changes_once_the_next_owner_has_looked(two)


@pytest.mark.parametrize("two", [renewing_anybody], indirect=True)
async def test_a_renewal_of_what_is_another_s_is_seen(two: Two) -> None:
    with pytest.raises(AssertionError):
        await CONTRACT.test_a_lease_that_ran_out_is_had_by_others_under_a_greater_token(two)
