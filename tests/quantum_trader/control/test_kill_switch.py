"""Kill switch: stricter at once, weaker only when it may, and the bus is halted before anybody is told."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest

from eventbus import Halted, InMemoryEventBus
from quantum_trader.control.kill_switch import Held, KillSwitch, SwitchFile
from quantum_trader.events import KillSwitchChangedEvent, KillSwitchRequestedEvent, TradeExecutedEvent
from quantum_trader.model import KillMode, Side

TRADE = TradeExecutedEvent(order_id="1", symbol="A", side=Side.BUY, size=Decimal(1), price=Decimal(1), strategy_id="s")


async def ask(bus: InMemoryEventBus, mode: KillMode, *, latch: bool = False, force: bool = False) -> None:
    await bus.publish(KillSwitchRequestedEvent(mode=mode, reason="test", actor="ada", latch=latch, force=force))
    await bus.drain()


async def test_halt_refuses_money_and_off_allows_it_again() -> None:
    bus = InMemoryEventBus()
    switch = KillSwitch(bus)
    heard: list[tuple[KillMode, bool]] = []

    @bus.on(KillSwitchChangedEvent)
    async def on_changed(event: KillSwitchChangedEvent) -> None:
        heard.append((event.mode, bus.is_halted))

    async with bus:
        await ask(bus, KillMode.HALT)
        with pytest.raises(Halted):
            await bus.publish(TRADE)
        await ask(bus, KillMode.OFF)
        await bus.publish(TRADE)
    assert heard == [(KillMode.HALT, True), (KillMode.OFF, False)]
    assert switch.mode is KillMode.OFF


async def test_latched_mode_yields_to_force_only_but_gets_stricter_freely() -> None:
    bus = InMemoryEventBus()
    switch = KillSwitch(bus)
    async with bus:
        await ask(bus, KillMode.REDUCE_ONLY, latch=True)
        await ask(bus, KillMode.OFF)
        assert (switch.mode, switch.latched) == (KillMode.REDUCE_ONLY, True)
        await ask(bus, KillMode.HALT)
        assert (switch.mode, switch.latched) == (KillMode.HALT, True)
        await ask(bus, KillMode.OFF, force=True)
    assert (switch.mode, switch.latched) == (KillMode.OFF, False)
    assert not bus.is_halted


async def test_same_mode_again_is_told_once() -> None:
    bus = InMemoryEventBus()
    KillSwitch(bus)
    heard: list[str] = []

    @bus.on(KillSwitchChangedEvent)
    async def on_changed(event: KillSwitchChangedEvent) -> None:
        heard.append(event.reason)

    async with bus:
        await ask(bus, KillMode.REDUCE_ONLY)
        await ask(bus, KillMode.REDUCE_ONLY)
    assert heard == ["test"]


def test_restored_halt_halts_the_bus() -> None:
    bus = InMemoryEventBus()
    KillSwitch(bus, KillMode.HALT, latched=True)
    assert bus.is_halted


async def test_the_file_says_what_holds_by_whom_and_why(tmp_path: Path) -> None:
    bus = InMemoryEventBus()
    file = SwitchFile(tmp_path / "run" / "killswitch.json")
    KillSwitch(bus, file=file)
    assert file.load() is None
    async with bus:
        await ask(bus, KillMode.HALT, latch=True)
        assert file.load() == Held(KillMode.HALT, latched=True, actor="ada", reason="test")
        await ask(bus, KillMode.OFF)  # refused: latched
        assert file.load() == Held(KillMode.HALT, latched=True, actor="ada", reason="test")
        await ask(bus, KillMode.OFF, force=True)
    assert file.load() == Held(KillMode.OFF, latched=False, actor="ada", reason="test")


@pytest.mark.parametrize("content", [b"", b"{}", b"[]", b'{"mode": "ON"}', b"\xff"])
def test_a_file_that_cannot_be_read_is_a_halt(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "killswitch.json"
    path.write_bytes(content)
    held = SwitchFile(path).load()
    assert held is not None
    assert (held.mode, held.latched) == (KillMode.HALT, True)
    assert held.is_stricter_than(KillMode.REDUCE_ONLY, latched=True)
    assert not held.is_stricter_than(KillMode.HALT, latched=True)


async def test_trading_stops_though_the_disk_is_full(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "taken").write_text("")
    bus = InMemoryEventBus()
    switch = KillSwitch(bus, file=SwitchFile(tmp_path / "taken" / "killswitch.json"))
    async with bus:
        await ask(bus, KillMode.HALT)
        assert bus.is_halted
    assert switch.mode is KillMode.HALT
    assert len(bus.dead_letters) == 0
    assert "could not be written" in caplog.text
