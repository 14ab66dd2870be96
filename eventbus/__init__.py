"""eventbus: a typed asyncio event runtime for trading systems."""
