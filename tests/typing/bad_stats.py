"""A statistic that is misspelt is an error."""

from eventbus import InMemoryEventBus

InMemoryEventBus().get_stats()["publishd"]  # E: has no key "publishd"
words: str = InMemoryEventBus().get_stats()["published"]  # E: Incompatible types in assignment
