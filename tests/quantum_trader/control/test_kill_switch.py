"""Kill switch: stricter at once, weaker only when it may, and the bus is halted before anybody is told."""

from __future__ import annotations

from decimal import Decimal

import pytest

from eventbus import Halted, InMemoryEventBus
from quantum_trader.control.kill_switch import KillSwitch
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
