"""What NATS says besides: of another log, of ids that it forgot, of what is retained, and of more than a batch holds."""

from __future__ import annotations

import asyncio
import logging

import pytest

from eventbus import Event, create_event_bus
from eventbus.journal.values import RETAINED, Durability, Settled, Status
from eventbus.testing.journal_contract import item, items, letter, offsets
from eventbus.testing.servers import NatsServer
from eventbus.testing.shared_contract.faults import again
from eventbus.testing.shared_contract.opened import until
from tests.backends import at, loss_of, name_of
from tests.eventbus.journal.nats.test_refusals import api

pytestmark = pytest.mark.server


async def test_what_an_acknowledgement_means_is_said_to_be_the_server_s_affair(
    nats_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, "eventbus"):
        async with create_event_bus(nats_url) as bus:
            receipt = await bus.publish("desk.opened", {"n": 1})
    assert receipt.durability == Durability.BROKER_DEFINED
    assert caplog.text.count("sync_interval") == 1


async def test_another_log_under_the_same_name_is_noticed(nats_url: str) -> None:
    async with at(f"{nats_url}&poll=0.1") as journal:
        await journal.append(items(1, 3))
        config = (await api(nats_url, f"STREAM.INFO.{name_of(nats_url)}"))["config"]
        await api(nats_url, f"STREAM.DELETE.{name_of(nats_url)}")
        await api(nats_url, f"STREAM.CREATE.{name_of(nats_url)}", **config)
        assert (await loss_of(journal)).expected.startswith("log ")
        await journal.accept_data_loss()
        assert offsets(await journal.append([item(1)])) == [1]


async def test_an_id_that_the_server_forgot_is_found_by_reading(nats_url: str) -> None:
    async with at(f"{nats_url}&dedupe_s=0.1") as journal:
        await journal.append(items(1, 3))

        async def is_forgotten() -> bool:
            await journal.append([item(1)])
            return journal.last > 3

        await until(is_forgotten)
        found = await journal.find("event-000002")
        assert found is not None
        assert found.offset == 2
        assert await journal.find("nobody") is None
        assert offsets(await journal.related("event-000003")) == [3]


async def test_what_is_retained_outlives_its_record(nats_url: str) -> None:
    async with at(nats_url) as journal:
        for number in range(1, 6):
            await journal.append([item(number, retain=f"risk-{number % 2}")])
        await journal.append([item(6)])
        await journal.trim(before=5)
        assert await journal.values(RETAINED) == {"risk-0": b"body-4", "risk-1": b"body-5"}
        await journal.append([item(7, retain="risk-0")])
        await journal.trim(before=99)
    async with at(nats_url) as again:
        assert await again.values(RETAINED) == {"risk-0": b"body-7", "risk-1": b"body-5"}


async def test_a_removed_record_may_come_again_and_is_known_again(nats_url: str) -> None:
    async with at(nats_url) as journal:
        for turn in range(1, 4):
            assert [*await journal.append([item(1)])] == [(turn, False)]
            assert [*await journal.append([item(1)])] == [(turn, True)]
            await journal.trim(before=99)


async def test_more_dead_letters_than_a_batch_holds_are_kept_with_their_deliveries(nats_url: str) -> None:
    count = 1_100
    async with at(nats_url) as journal:
        await journal.append(items(1, count))
        await journal.open_group("g", "beginning")
        settled = [Settled(offset, Status.DEAD_LETTERED) for offset in range(1, count + 1)]
        dead = [letter(offset) for offset in range(1, count + 1)]
        assert await journal.commit("g", settled, dead=dead) == count
        assert await journal.count_dead_letters() == count
        ids = [each.id for each in await journal.dead_letters(limit=count)]
        assert len({*ids}) == count
        assert await journal.mark_redriven(ids[:500]) == 500
        assert [each.id for each in await journal.dead_letters(limit=count)] == ids[500:]
        assert len(await journal.outcomes(range(1, count + 1))) == count


async def test_a_dropped_group_is_not_written_by_who_knew_it(nats_url: str) -> None:
    async with at(nats_url) as one, at(nats_url) as other:
        await one.append(items(1, 5))
        await one.open_group("g", "beginning")
        await other.drop_group("g")
        await other.open_group("g", "end")
        assert await one.commit("g", [Settled(1)]) == 5


async def test_receipts_tell_the_places_of_a_burst_that_others_come_between(nats_url: str) -> None:
    """More than a batch holds are several batches, and each event knows where it is all the same."""
    async with create_event_bus(nats_url) as bus, at(nats_url) as other:
        publishing = asyncio.ensure_future(
            bus.publish_many([Event("bar.closed", payload={"n": n}) for n in range(2_200)])
        )
        number = 0
        while not publishing.done():
            number += 1
            await other.append([item(number)])
        receipts = await publishing
        places = {record.event_id: record.offset for record in await other.read(0, 100_000)}
        assert [receipt.offset for receipt in receipts] == [places[receipt.event_id] for receipt in receipts]


async def test_any_type_is_found_by_its_wildcard(nats_url: str) -> None:
    names = ["typ.é", "typ. x", "typ", "a..b", "registry:bots:config", "typ.*"]
    async with at(nats_url) as journal:
        await journal.append([item(number, type=name) for number, name in enumerate(names, 1)])
        found = {wanted: offsets(await journal.read(0, types=[wanted])) for wanted in ("typ.*", "*..b", "registry:*")}
    assert found == {"typ.*": [1, 2, 6], "*..b": [4], "registry:*": [5]}


async def test_what_was_trimmed_and_came_again_is_known_after_a_restart_of_the_server() -> None:
    with NatsServer() as server:
        async with at(server.url) as journal, at(server.url) as other:
            await journal.append(items(1, 3))
            await journal.trim(before=3)
            (back,) = await journal.append([item(1)])
            assert back == (4, False)
            server.kill()
            server.start()
            for each in (other, journal):
                assert await again(lambda each=each: each.append([item(1)])) == [(4, True)]  # type: ignore[misc] # as it is now
            found = await other.find(item(1).event_id)
            assert found is not None
            assert found.offset == 4
            assert await again(lambda: journal.append([item(4), item(2)])) == [(5, False), (6, False)]
