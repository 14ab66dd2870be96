"""Gathering: one call at a time goes to the server, and whatever comes meanwhile gathers for the next. Knows nothing of what is sent."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from contextvars import Context
from typing import Any, Generic, TypeVar

_Job = TypeVar("_Job")


class Gathering(Generic[_Job]):
    """Hands jobs in their order to `run`, at most `most` at a time by `size_of`, but one at least.

    `run` gives an answer for each job, an exception for one that failed, or raises for all of them. Who is cancelled before its job
    was handed over withdraws it.
    """

    def __init__(
        self,
        run: Callable[[Sequence[_Job]], Awaitable[Sequence[Any]]],
        *,
        most: int,
        size_of: Callable[[_Job], int] = lambda job: 1,
    ) -> None:
        self._run = run
        self._most = most
        self._size_of = size_of
        self._waiting: deque[tuple[_Job, asyncio.Future[Any]]] = deque()
        self._task: asyncio.Task[None] | None = None

    def submit(self, job: _Job) -> asyncio.Future[Any]:
        """Take a job; its future gets the answer. Jobs of one turn of the loop go together."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Any] = loop.create_future()
        self._waiting.append((job, future))
        if self._task is None:
            self._task = loop.create_task(self._work(), context=Context())
        return future

    async def done(self) -> None:
        """Wait until everything that was taken has its answer."""
        if self._task is not None:
            await asyncio.wait([self._task])

    async def _work(self) -> None:
        await asyncio.sleep(0)  # what else comes in this turn goes along, with a factory of eager tasks too
        while batch := self._next():
            try:
                answers = await self._run([job for job, _ in batch])
            except Exception as error:  # noqa: BLE001 - whoever waits gets it
                answers = [error] * len(batch)
            for (_, future), answer in zip(batch, answers, strict=True):
                if future.done():
                    continue
                if isinstance(answer, BaseException):
                    future.set_exception(answer)
                else:
                    future.set_result(answer)
        self._task = None

    def _next(self) -> list[tuple[_Job, asyncio.Future[Any]]]:
        batch: list[tuple[_Job, asyncio.Future[Any]]] = []
        size = 0
        while self._waiting:
            job, future = self._waiting[0]
            if not future.cancelled():
                size += self._size_of(job)
                if batch and size > self._most:
                    break
                batch.append((job, future))
            self._waiting.popleft()
        return batch
