"""The WebSocket protocol as clients speak it, through real sockets: every line of what the protocol says."""

from __future__ import annotations

import socket
from collections.abc import Awaitable, Callable
from typing import Any

import pytest

from eventbus import Event, EventBus, Kind
from eventbus.gateway.line import LineProtocol
from eventbus.testing.gateway import Served

Serving = Callable[..., Awaitable[Served]]


class Quote(Event, type="sock.quote", kind=Kind.QUOTE, key="symbol"):
    """A price."""

    symbol: str
    price: int


async def publish(bus: EventBus, topic: str, count: int, **fields: Any) -> None:
    for n in range(count):
        await bus.publish(topic, {"n": n, **fields})


async def test_welcome_says_where_the_log_stands(serving: Serving) -> None:
    served = await serving()
    async with served.connect() as peer:
        assert peer.welcome | {"server": "", "epoch": "", "capabilities": []} == {
            "type": "welcome",
            "protocol": 1,
            "server": "",
            "epoch": "",
            "seq": 0,
            "oldest": 1,
            "capabilities": [],
            "heartbeat_s": 20.0,
        }
        assert peer.welcome["epoch"]
        assert "resume" in peer.welcome["capabilities"]


async def test_subprotocol_is_offered_and_not_required(serving: Serving) -> None:
    served = await serving()
    async with served.connect(subprotocols=["eventbus.v1"]) as peer:
        assert peer.connection.subprotocol == "eventbus.v1"
    async with served.connect() as peer:
        assert peer.connection.subprotocol is None


async def test_a_small_message_waits_for_no_answer_to_the_one_before(serving: Serving) -> None:
    served = await serving()
    async with served.connect():
        [client] = served.sockets.hub.clients
        assert isinstance(client.line, LineProtocol)
        connection = client.line.transport.get_extra_info("socket")
        assert connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_an_event_comes_with_its_number_and_all_it_holds(serving: Serving) -> None:
    served = await serving()
    async with served.connect() as peer:
        assert await peer.subscribe("desk.*") == {
            "type": "subscribed",
            "topics": ["desk.*"],
            "characteristic_ids": [],
            "views": [],
            "from": 1,
            "to": 0,
            "replaying": False,
        }
        event = Event("desk.opened", payload={"desk": 3}, source="test")
        await served.bus.publish(event)
        assert await peer.next() == {
            "type": "event",
            "seq": 1,
            "payload": {
                "type": "desk.opened",
                "event_id": event.event_id,
                "timestamp": event.timestamp.isoformat(),
                "kind": "event",
                "version": 1,
                "source": "test",
                "correlation_id": event.event_id,
                "causation_id": None,
                "payload": {"desk": 3},
            },
        }


async def test_topics_without_ids_add_up_and_are_echoed_as_what_is_in_force(serving: Serving) -> None:
    served = await serving()
    async with served.connect() as peer:
        await peer.subscribe("a.b")
        assert (await peer.subscribe("c.*"))["topics"] == ["a.b", "c.*"]
        await peer.say(type="unsubscribe", topics=["a.b"])
        assert (await peer.until("unsubscribed"))["topics"] == ["c.*"]
        await served.bus.publish("a.b", {})
        await served.bus.publish("c.d", {})
        await peer.sync()
        assert peer.seqs == [2]


async def test_a_second_subscribe_with_an_id_replaces_the_first(serving: Serving) -> None:
    served = await serving()
    async with served.connect() as peer:
        await peer.subscribe("a.*", id="q1")
        told = await peer.subscribe("b.*", id="q1")
        assert (told["id"], told["topics"]) == ("q1", ["b.*"])
        await served.bus.publish("a.x", {})
        await served.bus.publish("b.x", {})
        await peer.sync()
        assert [(event["seq"], event["subs"]) for event in peer.events] == [(2, ["q1"])]


async def test_an_event_is_sent_once_though_several_match_and_names_them(serving: Serving) -> None:
    served = await serving()
    async with served.connect() as peer:
        await peer.subscribe("a.*", id="q1")
        await peer.subscribe("*", id="q2")
        await peer.subscribe("a.b")
        await served.bus.publish("a.b", {})
        await peer.sync()
        assert [(event["seq"], event["subs"]) for event in peer.events] == [(1, ["q1", "q2"])]


@pytest.mark.parametrize(
    ("where", "expected"),
    [
        ({"symbol": "A"}, [1, 2]),
        ({"symbol": ["A", "B"]}, [1, 2, 3]),
        ({"symbol": ["A", "B"], "n": 1}, [2, 3]),
        ({"n": True}, []),
        ({"n": 1.0}, [2, 3, 4]),
        ({"missing": None}, [1, 2, 3, 4]),
    ],
)
async def test_where_takes_equality_and_one_of(serving: Serving, where: dict[str, Any], expected: list[int]) -> None:
    served = await serving()
    async with served.connect() as peer:
        await peer.subscribe("t.*", where=where)
        for symbol, n in (("A", 0), ("A", 1), ("B", 1), ("C", 1)):
            await served.bus.publish("t.x", {"symbol": symbol, "n": n})
        await peer.sync()
        assert peer.seqs == expected


async def test_resume_gives_what_was_missed_and_says_when_it_is_through(serving: Serving) -> None:
    served = await serving()
    async with served.connect() as first:
        await publish(served.bus, "a.b", 5)
        await served.bus.drain()
        told = await first.subscribe("a.*", id="q1", after=2, epoch=first.welcome["epoch"])
        assert (told["from"], told["to"], told["replaying"]) == (3, 5, True)
        assert (await first.until("caught_up")) == {"type": "caught_up", "id": "q1", "seq": 5}
        await publish(served.bus, "a.b", 2)
        await first.sync()
        assert first.seqs == [3, 4, 5, 6, 7]


async def test_who_received_nothing_resumes_with_the_number_of_its_welcome(serving: Serving) -> None:
    served = await serving()
    async with served.connect() as peer:
        await peer.subscribe("a.*")
    await publish(served.bus, "a.b", 3)
    async with served.connect() as again:
        await again.subscribe("a.*", after=peer.welcome["seq"], epoch=peer.welcome["epoch"])
        # the welcome's number was 0: from the oldest
        await again.until("caught_up")
        assert again.seqs == [1, 2, 3]


async def test_pong_moves_an_idle_client_on(serving: Serving) -> None:
    served = await serving()
    async with served.connect() as peer:
        await peer.subscribe("a.*")
        await publish(served.bus, "b.x", 3)
        await served.bus.drain()
        assert await peer.ask(type="ping", t=123, id="p") == {"type": "pong", "t": 123, "id": "p", "seq": 3}


@pytest.mark.parametrize(
    ("asked", "reason"),
    [
        ({"after": 2}, "epoch"),
        ({"after": 2, "epoch": "other"}, "epoch"),
        ({"after": 99}, "gone"),
    ],
)
async def test_a_place_that_is_not_here_is_answered_by_resnapshot(
    serving: Serving, asked: dict[str, Any], reason: str
) -> None:
    served = await serving()
    async with served.connect() as peer:
        await publish(served.bus, "a.b", 4)
        await served.bus.drain()
        epoch = peer.welcome["epoch"]
        await peer.say(
            type="subscribe", id="q", topics=["a.*"], **({"epoch": epoch} | asked if reason == "gone" else asked)
        )
        assert await peer.next() == {
            "type": "resnapshot",
            "id": "q",
            "reason": reason,
            "epoch": epoch,
            "oldest": 1,
            "seq": 4,
        }
        await served.bus.publish("a.b", {})
        await peer.sync()
        assert peer.seqs == [5]


async def test_after_0_is_from_the_oldest_with_or_without_an_epoch(serving: Serving) -> None:
    served = await serving()
    await publish(served.bus, "a.b", 3)
    async with served.connect() as peer:
        await peer.subscribe("a.*", after=0)
        await peer.until("caught_up")
        assert peer.seqs == [1, 2, 3]


async def test_batch_only_for_who_asked(serving: Serving) -> None:
    served = await serving()
    async with served.connect() as one, served.connect() as other:
        await one.subscribe("a.*", batch_ms=10)
        await other.subscribe("a.*")
        # They come in one turn of the loop, however slow it is.
        await served.bus.publish_many([Event("a.b") for _ in range(5)])
        batch = await one.until("batch")
        await other.sync()
        assert [event["seq"] for event in batch["events"]] == [1, 2, 3, 4, 5]
        assert {*batch["events"][0]} == {"seq", "payload"}
        assert [message["type"] for message in other.seen[2:-1]] == ["event"] * 5


async def test_order_is_kept_between_batches_and_single_events(serving: Serving) -> None:
    served = await serving()
    async with served.connect() as peer:
        await peer.subscribe("a.*", batch_ms=1000)
        await peer.subscribe("b.*")
        for topic in ("a.x", "a.x", "b.x", "a.x"):
            await served.bus.publish(topic, {})
        await peer.sync()
        assert peer.seqs == [1, 2, 3, 4]


async def test_max_rate_conflates_quotes_and_delays_nothing_else(serving: Serving) -> None:
    served = await serving()
    async with served.connect() as peer:
        await peer.subscribe("sock.quote", "a.*", id="q", max_rate=20)
        quotes = [Quote(symbol="X", price=price) for price in range(10)]
        await served.bus.publish_many([*quotes, Event("a.b")])  # they come in one turn of the loop, however slow it is
        assert (await peer.until("event", seq=11))["payload"]["type"] == "a.b"
        gap = await peer.until("gap")
        last = await peer.until("event")
        assert peer.seqs == [1, 11, 10]
        assert gap == {"type": "gap", "id": "q", "topic": "sock.quote", "dropped": 8, "first": 2, "last": 9}
        assert last["payload"]["payload"] == {"symbol": "X", "price": 9}


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("{", "bad_json"),
        ("[]", "bad_message"),
        ("1", "bad_message"),
        ("{}", "unknown_type"),
        ('{"type":"shout"}', "unknown_type"),
        ('{"type":"subscribe"}', "bad_message"),
        ('{"type":"subscribe","topics":"a"}', "bad_message"),
        ('{"type":"subscribe","topics":["a b"]}', "bad_topic"),
        ('{"type":"subscribe","topics":["[a"]}', "bad_topic"),
        ('{"type":"subscribe","topics":["a"],"batch_ms":5}', "bad_message"),
        ('{"type":"subscribe","topics":["a"],"max_rate":0}', "bad_message"),
        ('{"type":"subscribe","topics":["a"],"max_rate":NaN}', "bad_message"),
        ('{"type":"subscribe","topics":["a"],"after":"1"}', "bad_message"),
        ('{"type":"subscribe","topics":["a"],"after":99999999999999999999}', "bad_message"),
        ('{"type":"subscribe","topics":["a"],"secret":1}', "bad_message"),
        ('{"type":"subscribe","topics":["a"],"where":{"n":{}}}', "bad_message"),
        ('{"type":"subscribe","characteristic_ids":[1],"where":{"n":1}}', "bad_message"),
        ('{"type":"subscribe","views":["nothing_like_it"]}', "unknown_view"),
        ('{"type":"unsubscribe"}', "bad_message"),
        ('{"type":"auth","token":"x"}', "not_needed"),
    ],
)
async def test_what_cannot_be_followed_is_an_error_and_the_connection_stays(
    serving: Serving, text: str, code: str
) -> None:
    served = await serving()
    async with served.connect() as peer:
        await peer.connection.send(text)
        error = await peer.next()
        assert (error["type"], error["code"]) == ("error", code)
        assert "secret" not in error["detail"]
        assert "Traceback" not in error["detail"]
        await peer.sync()


async def test_an_error_names_the_field_and_echoes_the_id(serving: Serving) -> None:
    served = await serving()
    async with served.connect() as peer:
        error = await peer.ask(type="subscribe", id="q7", topics=["a"], where={f"f{n}": 1 for n in range(9)})
        assert (error["id"], error["detail"].partition(":")[0]) == ("q7", "where")
