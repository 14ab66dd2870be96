"""quantum_trader: a paper-trading system whose components meet only as events."""
