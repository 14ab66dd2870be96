"""What a look at each record of Redis comes to while another process appends: only what was looked at counts."""

from __future__ import annotations

import pytest

pytest.importorskip("redis")

from eventbus.journal.redis.storage import RedisStorage
from eventbus.journal.remote.arrivals import Arrivals
from eventbus.journal.values import Record


def record(offset: int, time_ns: int) -> Record:
    return Record(offset, f"id-{offset}", "a.b", 1, "event", None, time_ns, None, None, b"")


class Growing(RedisStorage):
    """Two records, and a third that another process appends as soon as somebody saw the end."""

    def __init__(self) -> None:
        self.log = [record(1, 100), record(2, 200)]
        self._arrivals = Arrivals()
        self._arrivals.stands(0, "epoch", 1, 2, 0)

    async def _read(self, after: int, limit: int, until: int | None) -> list[Record]:
        page = [each for each in self.log if each.offset > after][:limit]
        if not page:
            self.log = [*self.log, record(3, 300)]
            self._arrivals.stands(2, "epoch", 1, 3, 0)
        return page


async def test_what_came_after_the_look_is_not_passed_over() -> None:
    assert await Growing().seek(250) == 2
    assert await Growing().seek(150) == 1


async def test_no_more_are_looked_for_than_are_wanted() -> None:
    assert [each.offset for each in await Growing().related("id-2", 1)] == [2]
    assert await Growing().related("id-1", 0) == []
