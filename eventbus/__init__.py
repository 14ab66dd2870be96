"""eventbus: a typed, asyncio, queue-worker event runtime.

    bus = InMemoryEventBus()

    @bus.on("greeting.*")
    async def greet(event): print(event["text"])

    async with bus:
        await bus.publish("greeting.made", {"text": "hello"})

`EventBus` is what every bus promises; `create_event_bus` makes one over a file or a server.
"""

from eventbus.bus import InMemoryEventBus
from eventbus.causality import Explanation
from eventbus.clock import Clock, SystemClock
from eventbus.codec import upcast
from eventbus.config import (
    available_backends,
    create_event_bus,
    default_bus,
    register_backend,
    unregister_backend,
)
from eventbus.dead_letter import DeadLetter, DeadLetters
from eventbus.durability.reading import explanation
from eventbus.durability.retention import Retention
from eventbus.errors import (
    BackendDataLoss,
    BackendTaken,
    BackendUnsafe,
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
    LeaseLost,
    MetricsPortUnavailable,
    MissingDriver,
    NoReply,
    OffsetGone,
    OutcomeUnknown,
    PolicyConflict,
    PublishTimeout,
    QueueFull,
    ReentrantPublish,
    ReentrantStop,
    Reject,
    RetryLater,
    UnknownBackend,
    UsageError,
    ValueChanged,
    WouldDeadlock,
    WrongLoop,
    WrongProcess,
)
from eventbus.event import Event, Request, event_class, event_types
from eventbus.interface import EventBus, Handler, PolicyOptions, Stats
from eventbus.journal.reader import JournalReader, open_reader
from eventbus.kind import EventSpec, Kind
from eventbus.outcome import Outcome, ShutdownReport, Status
from eventbus.policy import OnFailure, Overflow, Policy, Retry
from eventbus.road.part import Delivery
from eventbus.road.receipt import Receipt
from eventbus.selector import Selector
from eventbus.stats import BusStats, SubscriptionStats
from eventbus.stream import Stream
from eventbus.subscription import Subscription
from eventbus.tap import Tap

__all__ = [
    "BackendDataLoss",
    "BackendTaken",
    "BackendUnsafe",
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
    "EventBus",
    "EventBusError",
    "EventSpec",
    "Explanation",
    "GatewayError",
    "Halted",
    "HandlerCancelled",
    "Handler",
    "HandlerTimeout",
    "HopLimit",
    "IdConflict",
    "InMemoryEventBus",
    "InvalidEventType",
    "InvalidSelector",
    "JournalDamaged",
    "JournalError",
    "JournalInUse",
    "JournalReader",
    "JournalUnavailable",
    "Kind",
    "LeaseLost",
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
    "PolicyOptions",
    "PublishTimeout",
    "QueueFull",
    "Receipt",
    "ReentrantPublish",
    "ReentrantStop",
    "Reject",
    "Request",
    "Retention",
    "Retry",
    "RetryLater",
    "Selector",
    "ShutdownReport",
    "Status",
    "Stats",
    "Stream",
    "Subscription",
    "SubscriptionStats",
    "SystemClock",
    "Tap",
    "UnknownBackend",
    "UsageError",
    "ValueChanged",
    "WouldDeadlock",
    "WrongLoop",
    "WrongProcess",
    "available_backends",
    "create_event_bus",
    "default_bus",
    "event_class",
    "event_types",
    "explanation",
    "open_reader",
    "register_backend",
    "unregister_backend",
    "upcast",
]
