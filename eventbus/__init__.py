"""eventbus: a typed, asyncio, queue-worker event runtime.

bus = InMemoryEventBus()

@bus.on("greeting.*")
async def greet(event): print(event["text"])

async with bus:
    await bus.publish("greeting.made", {"text": "hello"})
"""

from eventbus.bus import InMemoryEventBus, ShutdownReport
from eventbus.causality import Explanation
from eventbus.clock import Clock, SystemClock
from eventbus.codec import upcast
from eventbus.config import available_backends, create_event_bus, register_backend
from eventbus.dead_letter import DeadLetter, DeadLetters
from eventbus.delivery import Delivery
from eventbus.errors import (
    BackendTaken,
    BusNotRunning,
    BusStopped,
    CodecError,
    DeliveryError,
    DuplicateEventType,
    EventBusError,
    GatewayError,
    Halted,
    HandlerCancelled,
    HandlerTimeout,
    HopLimit,
    IdConflict,
    InvalidEventType,
    InvalidSelector,
    JournalDamaged,
    JournalError,
    JournalInUse,
    JournalUnavailable,
    MetricsPortUnavailable,
    MissingDriver,
    NoReply,
    OffsetGone,
    OutcomeUnknown,
    PolicyConflict,
    PublishTimeout,
    QueueFull,
    ReentrantStop,
    Reject,
    RetryLater,
    UnknownBackend,
    UsageError,
    WouldDeadlock,
    WrongLoop,
)
from eventbus.event import Event, EventSpec, Kind, event_class, event_types
from eventbus.journaled import JournaledEventBus
from eventbus.policy import OnFailure, Overflow, Policy, Retry
from eventbus.receipt import Outcome, Receipt, Status
from eventbus.retention import Retention
from eventbus.stats import BusStats, SubscriptionStats
from eventbus.stream import Stream
from eventbus.subscription import Subscription
from eventbus.trailing import TrailingEventBus

__all__ = [
    "BackendTaken",
    "BusNotRunning",
    "BusStats",
    "BusStopped",
    "Clock",
    "CodecError",
    "DeadLetter",
    "DeadLetters",
    "Delivery",
    "DeliveryError",
    "DuplicateEventType",
    "Event",
    "EventBusError",
    "EventSpec",
    "Explanation",
    "GatewayError",
    "Halted",
    "HandlerCancelled",
    "HandlerTimeout",
    "HopLimit",
    "IdConflict",
    "InMemoryEventBus",
    "InvalidEventType",
    "InvalidSelector",
    "JournalDamaged",
    "JournalError",
    "JournalInUse",
    "JournalUnavailable",
    "JournaledEventBus",
    "Kind",
    "MetricsPortUnavailable",
    "MissingDriver",
    "NoReply",
    "OffsetGone",
    "OnFailure",
    "Outcome",
    "OutcomeUnknown",
    "Overflow",
    "Policy",
    "PolicyConflict",
    "PublishTimeout",
    "QueueFull",
    "Receipt",
    "ReentrantStop",
    "Reject",
    "Retention",
    "Retry",
    "RetryLater",
    "ShutdownReport",
    "Status",
    "Stream",
    "Subscription",
    "SubscriptionStats",
    "SystemClock",
    "TrailingEventBus",
    "UnknownBackend",
    "UsageError",
    "WouldDeadlock",
    "WrongLoop",
    "available_backends",
    "create_event_bus",
    "event_class",
    "event_types",
    "register_backend",
    "upcast",
]
