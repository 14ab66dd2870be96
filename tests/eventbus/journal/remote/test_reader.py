"""The reader of a journal on a server belongs to the process that made it: its thread does not run in a fork."""

from __future__ import annotations

import os
from typing import Any

import pytest

from eventbus import WrongProcess
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
