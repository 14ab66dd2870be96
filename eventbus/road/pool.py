"""Pool: daemon threads for sync handlers.

Not a `ThreadPoolExecutor`: that one joins its threads at exit, so a single hung handler would keep the process alive for ever.
"""

from __future__ import annotations

import threading
from collections.abc import Callable
from queue import SimpleQueue

_SPARE_CAP = 64


class ThreadPool:
    """Up to `max_workers` threads, started as needed; each job is one call that must not raise."""

    def __init__(self, max_workers: int, name: str = "eventbus") -> None:
        self._max_workers = max_workers
        self._name = name
        self._jobs: SimpleQueue[Callable[[], None] | None] = SimpleQueue()
        self._lock = threading.Lock()
        self._threads = 0
        self._busy = 0
        self.replaced = 0

    def submit(self, job: Callable[[], None]) -> None:
        """Run the job in a thread, as soon as one is free. It waits when the system gives none: see `replace_stuck`."""
        with self._lock:
            self._busy += 1
            if self._busy > self._threads and self._threads < self._max_workers + self.replaced:
                self._start_thread()
        self._jobs.put(job)

    def replace_stuck(self) -> bool:
        """A thread hangs in a handler, or never came: start one in its place. False at the cap of spares, or when the system has none."""
        with self._lock:
            if self.replaced >= _SPARE_CAP or not self._start_thread():
                return False
            self.replaced += 1
            return True

    def close(self) -> None:
        """Let idle threads end; those that hang are daemons and end with the process."""
        with self._lock:
            for _ in range(self._threads):
                self._jobs.put(None)
            self._threads = 0

    @property
    def waiting(self) -> int:
        """Jobs that no thread has taken yet."""
        return self._jobs.qsize()

    def _start_thread(self) -> bool:
        thread = threading.Thread(target=self._work, name=f"{self._name}-{self._threads}", daemon=True)
        try:
            thread.start()
        except RuntimeError:  # the system gives no thread
            return False
        self._threads += 1
        return True

    def _work(self) -> None:
        while (job := self._jobs.get()) is not None:
            job()
            del job
            with self._lock:
                self._busy -= 1
