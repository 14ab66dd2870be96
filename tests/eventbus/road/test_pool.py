"""Pool: as many threads as allowed and as needed; a thread that hangs can be replaced, and none keeps the process alive."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from eventbus.road.pool import ThreadPool

PATIENCE_S = 60  # a thread that never comes fails the test, and is no verdict on speed


class Jobs:
    """Jobs that wait in their threads until they are let go."""

    def __init__(self) -> None:
        self.go = threading.Event()
        self._begun = threading.Semaphore(0)
        self.threads: set[threading.Thread] = set()

    def work(self) -> None:
        self.threads.add(threading.current_thread())
        self._begun.release()
        self.go.wait(PATIENCE_S)

    def begun(self, jobs: int) -> bool:
        return all(self._begun.acquire(timeout=PATIENCE_S) for _ in range(jobs))


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    jobs = Jobs()
    yield jobs
    jobs.go.set()


def test_no_more_threads_than_allowed_and_the_rest_waits(jobs: Jobs) -> None:
    pool = ThreadPool(2, "crew")
    for _ in range(5):
        pool.submit(jobs.work)
    assert jobs.begun(2)
    assert (len(jobs.threads), pool.waiting) == (2, 3)
    jobs.go.set()
    assert jobs.begun(3)
    assert len(jobs.threads) == 2
    pool.close()


def test_one_job_after_the_other_needs_one_thread(jobs: Jobs) -> None:
    pool = ThreadPool(8)
    names: set[str] = set()
    for _ in range(5):
        done = threading.Event()

        def job(done: threading.Event = done) -> None:
            names.add(threading.current_thread().name)
            done.set()

        pool.submit(job)
        assert done.wait(PATIENCE_S)
    assert 1 <= len(names) <= 5
    pool.close()


def test_a_thread_that_hangs_is_replaced_up_to_a_number(jobs: Jobs) -> None:
    pool = ThreadPool(1)
    pool.submit(jobs.work)
    assert jobs.begun(1)
    pool.submit(jobs.work)
    assert pool.waiting == 1
    assert pool.replace_stuck()
    assert jobs.begun(1)
    assert (pool.replaced, pool.waiting) == (1, 0)
    while pool.replace_stuck():
        assert pool.replaced <= 64
    assert pool.replaced == 64
    pool.close()


def test_a_system_that_gives_no_thread_is_no_error(monkeypatch: pytest.MonkeyPatch, jobs: Jobs) -> None:
    pool = ThreadPool(1)

    def refuse(_thread: threading.Thread) -> None:
        raise RuntimeError("can't start new thread")

    with monkeypatch.context() as patched:
        patched.setattr(threading.Thread, "start", refuse)
        pool.submit(jobs.work)
        assert not pool.replace_stuck()
        assert pool.waiting == 1
    assert pool.replace_stuck()
    assert jobs.begun(1)
    pool.close()


def test_closed_it_lets_idle_threads_end_and_those_that_hang_keep_nobody_alive(jobs: Jobs) -> None:
    pool = ThreadPool(2)
    pool.submit(jobs.work)
    assert jobs.begun(1)
    (thread,) = jobs.threads
    assert thread.daemon
    pool.close()
    jobs.go.set()
    thread.join(PATIENCE_S)
    assert not thread.is_alive()
