"""What every part of the contract starts from: an open journal, and the means to open it again."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable

import pytest

from eventbus.journal.protocol import Journal

Make = Callable[[], Journal]


class Opened:
    """Fixtures of a contract. `make` gives a journal that is not open yet; called again, another one over the same storage."""

    @pytest.fixture
    def make(self) -> Make:
        raise NotImplementedError("a backend brings its own")

    @pytest.fixture
    async def journal(self, make: Make) -> AsyncIterator[Journal]:
        journal = make()
        await journal.open()
        yield journal
        await journal.close()
