"""The statistics are a dict whose names and types are known."""

from typing import assert_type

from eventbus import InMemoryEventBus

stats = InMemoryEventBus().get_stats()
assert_type(stats["published"], int)
assert_type(stats["dead_lettered"], int)
assert_type(stats["uptime_s"], float)
