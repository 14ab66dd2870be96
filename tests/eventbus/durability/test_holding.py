"""Where no other process is a group has its only part at once, and a token that grows from process to process."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventbus import PolicyConflict, create_event_bus
from eventbus.road.part import Delivery


async def tokens(path: Path) -> list[int | None]:
    seen: list[int | None] = []

    async def note(_event: object, delivery: Delivery) -> None:
        seen.append(delivery.token)

    async with create_event_bus(f"sqlite:///{path}") as bus:
        bus.subscribe("t.*", note, group="books")
        bus.subscribe("t.*", note)
        await bus.publish("t.x")
        assert await bus.drain(60)
    return sorted(seen, key=lambda token: token or 0)


async def test_the_token_of_a_group_grows_and_others_have_none(tmp_path: Path) -> None:
    first, second = await tokens(tmp_path / "run.db"), await tokens(tmp_path / "run.db")
    assert first[0] is second[0] is None
    assert (first[1] or 0) < (second[1] or 0)


@pytest.mark.parametrize("url", ["memory://", "sqlite:///{}/run.db"])
def test_one_process_has_one_part(tmp_path: Path, url: str) -> None:
    bus = create_event_bus(url.format(tmp_path))
    with pytest.raises(PolicyConflict, match="one process has one part") as refused:
        bus.subscribe("t.*", print, group="books", parts=16)
    assert refused.value.argument == "parts"
    assert bus.subscribe("t.*", print, group="books", parts=1).is_active
    with pytest.raises(PolicyConflict, match="for a group"):
        bus.subscribe("t.*", print, parts=1)
