"""A journal on a server belongs to the process that opened it, its reader to that which made it: no thread runs in a fork."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from eventbus import WrongProcess
from eventbus.journal.remote.journal import RemoteJournal
from eventbus.journal.remote.reader import RemoteReader


class Journal:
    """What a reader asks of a journal here."""

    async def open(self) -> None: ...

    async def look(self) -> None: ...

    async def close(self) -> None: ...

    first = 7


def test_a_fork_is_told_whose_it_is_and_may_let_go_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    make: Any = Journal
    with RemoteReader(make) as reader:
        assert reader.first() == 7
        with monkeypatch.context() as fork:
            fork.setattr(os, "getpid", lambda: -1)
            with pytest.raises(WrongProcess, match="which owns the reader"):
                reader.first()
    with RemoteReader(make) as reader, monkeypatch.context() as fork:
        fork.setattr(os, "getpid", lambda: -1)
        reader.close()


async def nothing(*_: object) -> list[Any]:
    return []


async def test_a_journal_belongs_to_the_process_that_opened_it(monkeypatch: pytest.MonkeyPatch) -> None:
    storage: Any = SimpleNamespace(
        shelf=SimpleNamespace(fetch=nothing), open=nothing, watch=nothing, close=nothing, quarantined=nothing
    )
    made_before = RemoteJournal(storage)
    with monkeypatch.context() as fork:
        fork.setattr(os, "getpid", lambda: -1)
        await made_before.open()  # nobody had opened it: it is the child's
        assert await made_before.quarantined() == []
        await made_before.close()
    opened_before = RemoteJournal(storage)
    await opened_before.open()
    with monkeypatch.context() as fork:
        fork.setattr(os, "getpid", lambda: -1)
        for ask in (opened_before.verify, opened_before.quarantined, opened_before.close):
            with pytest.raises(WrongProcess, match="which owns the journal"):
                await ask()
    await opened_before.close()
