"""Hearing: what one listener was told and has not taken yet. Knows nothing of who told it, or how it got here."""

from __future__ import annotations

import asyncio


class Hearing:
    """What one listener has not taken yet: an endless iterator, until `end()`. Who never takes loses the oldest."""

    def __init__(self, most: int = 10_000) -> None:
        self._most = most
        self._bodies: asyncio.Queue[bytes | None] = asyncio.Queue()
        self._is_over = False

    def hear(self, body: bytes) -> None:
        """Something was told."""
        if self._is_over:
            return
        if self._bodies.qsize() >= self._most:
            self._bodies.get_nowait()
        self._bodies.put_nowait(body)

    def end(self) -> None:
        """Nothing more will be."""
        self._is_over = True
        self._bodies.put_nowait(None)

    def __aiter__(self) -> Hearing:
        return self

    async def __anext__(self) -> bytes:
        if self._is_over and self._bodies.empty():
            raise StopAsyncIteration
        body = await self._bodies.get()
        if body is None:
            raise StopAsyncIteration
        return body
