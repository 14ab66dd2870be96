"""The public face: what a strategy, a check, a component, a feed or a venue of a user's own is written against.

Besides these names a user needs nothing but `eventbus`. They are promised, and a test holds them.
"""

from __future__ import annotations

from quantum_trader.events import Decision
from quantum_trader.feeds.values import Bar, Feed, LiveFeed
from quantum_trader.model import Order
from quantum_trader.own.bars import Bars
from quantum_trader.own.checks import Check, Denial, RiskView
from quantum_trader.own.component import Component
from quantum_trader.own.context import Context
from quantum_trader.own.strategy import Strategy, Target
from quantum_trader.runs.loaded import load_run
from quantum_trader.venues.contract import VenueContract
from quantum_trader.venues.values import Report, Venue

__all__ = [
    # a strategy
    "Strategy",
    "Target",
    "Bars",
    "Context",
    # a check
    "Check",
    "Denial",
    "Order",
    "RiskView",
    # a component
    "Component",
    "Decision",
    # a feed
    "Feed",
    "LiveFeed",
    "Bar",
    # a venue
    "Venue",
    "Report",
    "VenueContract",
    # what a run came to
    "load_run",
]
