"""Several processes of the operating system over one server: what is promised of groups, the tail, requests, the halt."""

from __future__ import annotations

import signal

import pytest

from tests.backends import over_one_and_long_over_others
from tests.processes.fleet import Fleet

pytestmark = pytest.mark.server

BOOKS = {"group": "books"}
SHARED = {"group": "books", "concurrency": 4}
BRIEF: dict[str, object] = {"lease": 1.5}
LONG: dict[str, object] = {"lease": 600}
"""Where a lease is to run out within the test, and where it is not, however long the machine keeps its owner waiting."""


class Feed:
    """Steps of so many accounts, sent to a publisher."""

    def __init__(self, fleet: Fleet, publisher: int, accounts: int) -> None:
        self._fleet = fleet
        self._publisher = publisher
        self._accounts = accounts
        self.sent = 0

    def send(self, count: int) -> None:
        self._fleet.send(self._publisher, "publish", self.sent, count, self._accounts)
        self.sent += count

    def more(self) -> None:
        """Once nothing is left."""
        if self.is_handled():
            self.send(100)

    def is_handled(self) -> bool:
        return self._fleet.handled() == {*range(self.sent)}


@over_one_and_long_over_others
async def test_a_group_of_one_part_is_handled_in_order_by_one_process(fleet: Fleet) -> None:
    first = fleet.start(settings=LONG, group=BOOKS, work_s=0.001)
    await fleet.ready(first)
    second, publisher = fleet.start(settings=LONG, group=BOOKS, work_s=0.001), fleet.start()
    await fleet.ready(second, publisher)
    assert len({first, second, publisher}) == 3
    feed = Feed(fleet, publisher, 7)
    feed.send(60)
    await fleet.until(feed.is_handled)
    assert [int(n) for n, *_ in fleet.of("began", first)] == [*range(60)]
    assert fleet.of("began", second) == []


async def test_what_a_dead_process_had_is_taken_over_when_its_lease_runs_out(fleet: Fleet) -> None:
    workers = [fleet.start(settings=BRIEF, group=BOOKS, work_s=0.001) for _ in range(2)]
    publisher = fleet.start()
    await fleet.ready(*workers, publisher)
    feed = Feed(fleet, publisher, 7)
    dead = await fleet.held(workers, feed.more)
    orphans = fleet.open_steps(dead)
    (heir,) = {*workers} - {dead}
    before = len(fleet.of("began", heir))
    fleet.signal(dead, signal.SIGKILL)
    await fleet.until(lambda: orphans <= fleet.handled())
    await fleet.until(feed.is_handled)
    fleet.must_be_in_order()
    *_, (*_, theirs) = fleet.of("began", dead)
    ours = {int(token) for *_, token in fleet.of("began", heir)[before:]}
    assert int(theirs) < min(ours), "the fencing token grows"


@over_one_and_long_over_others
async def test_parts_are_shared_by_two_processes_each_account_in_order(fleet: Fleet) -> None:
    workers = [fleet.start(settings=LONG, group=SHARED, work_s=0.001) for _ in range(2)]
    publisher = fleet.start()
    await fleet.ready(*workers, publisher)
    feed = Feed(fleet, publisher, 40)
    while not all(fleet.of("began", worker) for worker in workers):
        feed.send(100)
        await fleet.until(lambda: len(fleet.of("kept")) == feed.sent)
        assert feed.sent < 10_000
    await fleet.until(feed.is_handled)
    fleet.must_be_in_order()
    assert len(fleet.of("began")) == feed.sent, "without a death nothing is repeated"
    running: dict[str, int] = {}
    for line in fleet.look():
        if line.what in ("began", "ended"):
            account = line.words[1]
            running[account] = running.get(account, 0) + (1 if line.what == "began" else -1)
            assert running[account] <= 1, f"{account} overlaps"


@over_one_and_long_over_others
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
    fleet.send(asker, "ask", 21, 120)
    await fleet.until(lambda: fleet.of("answer", asker))
    assert fleet.of("answer", asker) == [("42",)]
    fleet.signal(answerer, signal.SIGKILL)
    fleet.send(asker, "ask", 22, 0.5)
    await fleet.until(lambda: fleet.of("silence", asker))


async def test_the_kill_switch_holds_in_every_process_and_is_cleared_from_any(fleet: Fleet) -> None:
    first, second = fleet.start(settings=LONG), fleet.start(settings=LONG)
    await fleet.ready(first, second)
    fleet.send(second, "order")
    await fleet.until(lambda: fleet.of("accepted", second))
    fleet.send(first, "halt", "drawdown")

    def refused() -> bool:
        fleet.send(second, "order")
        return any(kind == "Halted" and "drawdown" in why for kind, why in fleet.of("refused", second))

    await fleet.until(refused)
    ((token,),) = fleet.of("halted", first)
    fleet.send(second, "rearm", token)
    await fleet.until(lambda: fleet.of("rearmed", second))
    before = len(fleet.of("accepted", first))

    def accepted() -> bool:
        fleet.send(first, "order")
        return len(fleet.of("accepted", first)) > before

    await fleet.until(accepted)


@over_one_and_long_over_others
async def test_a_process_that_ends_in_order_hands_over_at_once(fleet: Fleet) -> None:
    first = fleet.start(settings=LONG, group=BOOKS)
    await fleet.ready(first)
    second = fleet.start(settings=LONG, group=BOOKS)
    publisher = fleet.start()
    await fleet.ready(second, publisher)
    fleet.send(publisher, "publish", 0, 20, 3)
    await fleet.until(lambda: len(fleet.of("ended", first)) == 20)
    fleet.signal(first, signal.SIGTERM)
    assert fleet.wait(first) == 0
    assert fleet.of("closed", first) == [("0",)]
    fleet.send(publisher, "publish", 20, 20, 3)
    await fleet.until(lambda: len(fleet.of("ended", second)) == 20)  # no lease has run out
    assert len(fleet.of("began")) == 40


@pytest.mark.long
async def test_a_handler_that_takes_three_leases_is_begun_once(fleet: Fleet) -> None:
    lease_s = 4.0  # renewed every third of it: a process that stands still for the rest loses it, and rightly
    workers = [fleet.start(settings={"lease": lease_s}, group=BOOKS, work_s=3 * lease_s) for _ in range(2)]
    publisher = fleet.start()
    await fleet.ready(*workers, publisher)
    fleet.send(publisher, "publish", 0, 1, 1)
    await fleet.until(lambda: fleet.handled() == {0})
    assert [(n, attempt) for n, _, attempt, _ in fleet.of("began")] == [("0", "1")]


@pytest.mark.long
async def test_a_rolling_restart_under_load_loses_and_repeats_nothing(fleet: Fleet) -> None:
    workers = [fleet.start(settings=LONG, group=SHARED, work_s=0.005) for _ in range(3)]
    publisher = fleet.start()
    await fleet.ready(*workers, publisher)
    feed = Feed(fleet, publisher, 40)
    for leaving in workers:
        feed.send(300)
        await fleet.held([leaving], feed.more)
        fleet.signal(leaving, signal.SIGTERM)
        fleet.signal(leaving, signal.SIGCONT)
        assert fleet.wait(leaving) == 0
        await fleet.ready(fleet.start(settings=LONG, group=SHARED, work_s=0.005))
    await fleet.until(feed.is_handled)
    assert len(fleet.of("began")) == feed.sent, "without a death nothing is repeated"
    fleet.must_be_in_order()
