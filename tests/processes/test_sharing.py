"""Several processes of the operating system over one server: what is promised of groups, the tail, requests, the halt."""

from __future__ import annotations

import signal
import time

import pytest

from tests.processes.fleet import Fleet

pytestmark = pytest.mark.server

LEASE_S = 1.5
BOOKS = {"group": "books"}
SHARED = {"group": "books", "concurrency": 4}


def settings(**more: object) -> dict[str, object]:
    return {"lease": LEASE_S, **more}


async def test_a_group_of_one_part_is_handled_in_order_by_one_process_and_taken_over_from_a_dead_one(
    fleet: Fleet,
) -> None:
    first = fleet.start(settings=settings(), group=BOOKS, work_s=0.001)
    await fleet.ready(first)
    second = fleet.start(settings=settings(), group=BOOKS, work_s=0.001)
    publisher = fleet.start(settings=settings())
    await fleet.ready(second, publisher)
    assert len({first, second, publisher}) == 3
    fleet.send(publisher, "publish", 0, 60, 7)
    await fleet.until(lambda: len(fleet.of("ended")) >= 60)
    assert [int(n) for n, *_ in fleet.of("began", first)] == [*range(60)]
    assert fleet.of("began", second) == []
    fleet.send(publisher, "publish", 60, 200, 7)
    await fleet.until(lambda: len(fleet.of("began", first)) > 70)
    fleet.signal(first, signal.SIGKILL)
    killed = time.monotonic()
    await fleet.until(lambda: fleet.of("began", second), seconds=LEASE_S + 1 + 10)
    took_s = time.monotonic() - killed
    await fleet.until(lambda: fleet.handled() == {*range(260)})
    assert took_s < LEASE_S + 10
    fleet.must_be_in_order()
    firsts, seconds = fleet.of("began", first), fleet.of("began", second)
    assert int(firsts[0][3]) < int(seconds[0][3]), "the fencing token grows"


async def test_parts_are_shared_by_two_processes_each_account_in_order(fleet: Fleet) -> None:
    workers = [fleet.start(settings=settings(), group=SHARED, work_s=0.001) for _ in range(2)]
    publisher = fleet.start(settings=settings())
    await fleet.ready(*workers, publisher)
    sent = 0
    while not all(fleet.of("began", worker) for worker in workers):
        fleet.send(publisher, "publish", sent, 100, 40)
        sent += 100
        await fleet.until(lambda sent=sent: len(fleet.of("kept")) == sent)  # type: ignore[misc] # as it is now
        assert sent < 10_000
    await fleet.until(lambda: fleet.handled() == {*range(sent)})
    fleet.must_be_in_order()
    assert len(fleet.of("began")) == sent, "without a death nothing is repeated"
    running: dict[str, int] = {}
    for line in fleet.look():
        if line.what in ("began", "ended"):
            account = line.words[1]
            running[account] = running.get(account, 0) + (1 if line.what == "began" else -1)
            assert running[account] <= 1, f"{account} overlaps"


async def test_a_plain_subscription_of_every_process_hears_everything_in_the_order_of_the_log(fleet: Fleet) -> None:
    hearers = [fleet.start(plain=True) for _ in range(2)]
    publishers = [fleet.start() for _ in range(2)]
    await fleet.ready(*hearers, *publishers)
    for place, publisher in enumerate(publishers):
        fleet.send(publisher, "publish", place * 1_000, 100, 5)
    await fleet.until(lambda: all(len(fleet.of("heard", hearer)) == 200 for hearer in hearers))
    offsets = {n: int(offset) for n, offset in fleet.of("kept")}
    heard = [[n for _type, n in fleet.of("heard", hearer)] for hearer in hearers]
    assert heard[0] == heard[1] == sorted(offsets, key=lambda n: offsets[n])


async def test_a_question_is_answered_by_another_process_or_by_nobody_in_time(fleet: Fleet) -> None:
    asker, answerer = fleet.start(), fleet.start(answers=True)
    await fleet.ready(asker, answerer)
    fleet.send(asker, "ask", 21, 30)
    await fleet.until(lambda: fleet.of("answer", asker))
    assert fleet.of("answer", asker) == [("42",)]
    fleet.signal(answerer, signal.SIGKILL)
    fleet.send(asker, "ask", 22, 0.5)
    await fleet.until(lambda: fleet.of("silence", asker))


async def test_the_kill_switch_holds_in_every_process_and_is_cleared_from_any(fleet: Fleet) -> None:
    first, second = fleet.start(settings=settings()), fleet.start(settings=settings())
    await fleet.ready(first, second)
    fleet.send(second, "order")
    await fleet.until(lambda: fleet.of("accepted", second))
    fleet.send(first, "halt", "drawdown")

    def refused() -> bool:
        fleet.send(second, "order")
        return any(kind == "Halted" and "drawdown" in why for kind, why in fleet.of("refused", second))

    await fleet.until(refused, seconds=20)
    ((token,),) = fleet.of("halted", first)
    fleet.send(second, "rearm", token)
    await fleet.until(lambda: fleet.of("rearmed", second))
    before = len(fleet.of("accepted", first))

    def accepted() -> bool:
        fleet.send(first, "order")
        return len(fleet.of("accepted", first)) > before

    await fleet.until(accepted, seconds=20)


async def test_a_process_that_ends_in_order_hands_over_at_once(fleet: Fleet) -> None:
    first = fleet.start(settings={"lease": 30}, group=BOOKS)
    await fleet.ready(first)
    second = fleet.start(settings={"lease": 30}, group=BOOKS)
    publisher = fleet.start()
    await fleet.ready(second, publisher)
    fleet.send(publisher, "publish", 0, 20, 3)
    await fleet.until(lambda: len(fleet.of("ended", first)) == 20)
    fleet.signal(first, signal.SIGTERM)
    assert fleet.wait(first) == 0
    assert fleet.of("closed", first) == [("0",)]
    fleet.send(publisher, "publish", 20, 20, 3)
    await fleet.until(lambda: len(fleet.of("ended", second)) == 20, seconds=20)  # no lease of 30 s has run out
    assert len(fleet.of("began")) == 40


@pytest.mark.long
async def test_a_handler_that_takes_three_leases_is_begun_once(fleet: Fleet) -> None:
    workers = [fleet.start(settings=settings(), group=BOOKS, work_s=3 * LEASE_S) for _ in range(2)]
    publisher = fleet.start()
    await fleet.ready(*workers, publisher)
    fleet.send(publisher, "publish", 0, 2, 1)
    await fleet.until(lambda: fleet.handled() == {0, 1})
    assert [(n, attempt) for n, _, attempt, _ in fleet.of("began")] == [("0", "1"), ("1", "1")]


@pytest.mark.long
async def test_a_rolling_restart_under_load_loses_and_repeats_nothing(fleet: Fleet) -> None:
    workers = [fleet.start(settings=settings(), group=SHARED, work_s=0.005) for _ in range(3)]
    publisher = fleet.start()
    await fleet.ready(*workers, publisher)
    sent = 0
    for leaving in workers:
        fleet.send(publisher, "publish", sent, 300, 40)
        sent += 300
        await fleet.until(lambda: fleet.in_flight(leaving) > 0)  # noqa: B023 # called before the next one leaves
        fleet.signal(leaving, signal.SIGTERM)
        assert fleet.wait(leaving) == 0
        await fleet.ready(fleet.start(settings=settings(), group=SHARED, work_s=0.005))
    await fleet.until(lambda: fleet.handled() == {*range(sent)})
    assert len(fleet.of("began")) == sent, "without a death nothing is repeated"
    fleet.must_be_in_order()
