"""Observability: windows on a running bus: metrics, logs, a watchdog of its loop. Spans are in `observability.tracing`.

They read what the bus counts anyway; nothing in here runs per event unless it was asked for.
"""

from eventbus.errors import MetricsPortUnavailable
from eventbus.observability.logging import LogSink, bind_delivery, configure_logging
from eventbus.observability.prometheus import (
    MetricsCollector,
    MetricsServer,
    metrics_text,
    serve_metrics,
)
from eventbus.observability.watchdog import Block, LoopWatchdog

__all__ = [
    "Block",
    "LogSink",
    "LoopWatchdog",
    "MetricsCollector",
    "MetricsPortUnavailable",
    "MetricsServer",
    "bind_delivery",
    "configure_logging",
    "metrics_text",
    "serve_metrics",
]
