"""Why was this bought? The journal leads from a protective stop back to the bar, the signal and the checks behind its entry."""

from __future__ import annotations

import asyncio
import tempfile
from pathlib import Path

from quantum_trader.app import load_feed
from quantum_trader.config import load_config
from quantum_trader.control.checks import CHECKS
from quantum_trader.events import TradeExecutedEvent
from quantum_trader.model import Trigger
from quantum_trader.runs.durable import DurableRun
from quantum_trader.runs.folder import RunFolder
from quantum_trader.runs.history import events, opened
from quantum_trader.runs.story import Step, tell, walk

CONFIG = load_config(
    environ={},
    overrides={"universe": {"symbols": ("AAPL", "IBM"), "end": "2000-10-20"}, "strategies": {"all_live": True}},
)
TOLD = (
    "close",
    "reason",
    "confidence",
    "risk_mode",
    "qty",
    "limited_by",
    "verdict",
    "price",
    "trigger",
    "shortfall_bp",
)


async def record(folder: RunFolder) -> None:
    """A short run with its journal."""
    folder.begin(CONFIG)
    durable = DurableRun(folder, CONFIG, load_feed(CONFIG))
    async with durable:
        await durable.run()


def stopped_out(folder: RunFolder) -> TradeExecutedEvent:
    """The first fill of a protective stop."""
    with opened(folder) as journal:
        for fill in events(journal, TradeExecutedEvent):
            if isinstance(fill, TradeExecutedEvent) and fill.trigger is Trigger.STOP:
                return fill
    raise LookupError("no stop was hit")


def show(story: Step) -> None:
    for depth, step in walk(story):
        facts = ", ".join(f"{name} {step.facts[name]}" for name in TOLD if name in step.facts)
        print(f"{'   ' * depth}{step.what:<9} {step.event.timestamp.date()}  {facts}")


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        folder = RunFolder(Path(place) / "run")
        asyncio.run(record(folder))
        fill = stopped_out(folder)
        print(f"{fill.order_id}: {fill.side} {fill.size} {fill.symbol} at {fill.price}")
        story = tell(folder, fill.order_id)
    show(story)
    steps = {step.what: step for _, step in walk(story)}
    assert [step.what for _, step in walk(story)][:5] == ["bar", "signal", "proposal", "size", "checks"]
    # The price that was decided on is the close of that bar, and every check was asked before the first fill.
    assert steps["bar"].facts["close"] == steps["signal"].facts["reference_px"]
    assert len(steps["checks"].facts["passed"]) == len(CHECKS)
    fills = [step for _, step in walk(story) if step.what == "fill"]
    assert fills[-1].event.event_id == fill.event_id
    assert fills[0].event.timestamp > steps["bar"].event.timestamp
    # The stop never filled above its level, and below it only as far as the market had gapped.
    assert fills[-1].facts["price"] < fills[0].facts["stop_px"]


if __name__ == "__main__":
    main()
