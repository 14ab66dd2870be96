"""Socket: one WebSocket connection, from its handshake to its close frame: it understands messages and answers them.

What is sent besides answers is the hub's business.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from fastapi import APIRouter, WebSocket

from eventbus.gateway.behind import Replay
from eventbus.gateway.entry import entered
from eventbus.gateway.gateway import Gateway, gateway_of
from eventbus.gateway.hub import PING_S
from eventbus.gateway.listening import CHART_TYPE, Chart, Topic, charts_of, topics_of
from eventbus.gateway.settings import VERSION
from eventbus.gateway.wire import (
    PROTOCOL,
    Auth,
    Ping,
    Refused,
    Subscribe,
    Unsubscribe,
    framed,
    message,
    parse,
)

if TYPE_CHECKING:
    from eventbus.gateway.auth import Principal
    from eventbus.gateway.line import Line

router = APIRouter()


@router.websocket("/api/v1/ws")
async def connect(websocket: WebSocket) -> None:
    """Speak the protocol with one client until it goes."""
    gateway = gateway_of(websocket)
    async with entered(websocket, gateway) as come:
        if come is None:
            return
        connection = Connection(gateway, *come)
        try:
            await connection.speak(websocket)
        finally:
            connection.over()


class Connection:
    """One client, and what it asks for."""

    def __init__(self, gateway: Gateway, line: Line, who: Principal) -> None:
        self._gateway = gateway
        self._hub = gateway.sockets.hub
        self._feed = gateway.sockets.feed
        self._views = gateway.sockets.views
        self._limits = gateway.settings.limits
        self._who = who
        self._client = self._hub.join(line, who.may_read, lambda: gateway.auth.still(who))
        self._second = 0
        self._messages = 0

    def over(self) -> None:
        """It is gone."""
        self._views.look_away(self._client)
        self._hub.leave(self._client)

    async def speak(self, websocket: WebSocket) -> None:
        """Answer until the client goes, or is made to."""
        self._welcome()
        while True:
            received = await websocket.receive()
            if received["type"] == "websocket.disconnect":
                return
            text = received.get("text")
            if text is None:
                self._client.lost(1003, "text frames only")
            elif self._is_too_many():
                self._client.lost(1008, "too many messages")
            else:
                self._answer(text)

    def _welcome(self) -> None:
        ring = self._feed.ring
        self._client.say(
            "welcome",
            protocol=PROTOCOL,
            server=VERSION,
            epoch=ring.epoch,
            seq=ring.head,
            oldest=self._feed.oldest,
            capabilities=self._gateway.capabilities,
            heartbeat_s=PING_S,
        )

    def _is_too_many(self) -> bool:
        second = self._gateway.clock.monotonic_ns() // 1_000_000_000
        if second != self._second:
            self._second, self._messages = second, 0
        self._messages += 1
        return self._messages > self._limits.messages_per_s

    def _answer(self, text: str) -> None:
        try:
            match parse(text):
                case Subscribe() as asked:
                    self._subscribe(asked)
                case Unsubscribe() as asked:
                    self._unsubscribe(asked)
                case Ping(id=id, t=t):
                    self._pong(id, t)
                case Auth():
                    raise Refused("not_needed", "this connection needs no auth message")
        except Refused as refused:
            self._gateway.sockets.counts.refused[refused.code] += 1
            self._client.say("error", code=refused.code, detail=refused.detail, id=refused.id)

    def _pong(self, id: str | None, t: Any) -> None:
        self._hub.deal()
        self._client.flush_batch()
        self._client.say("pong", id=id, t=t, seq=self._client.position)

    # --- subscribe -------------------------------------------------------------------------------------------------------

    def _subscribe(self, asked: Subscribe) -> None:
        client, feed = self._client, self._feed
        self._must_know(asked)
        self._hub.deal()  # so that what came before is not taken for what comes after
        since = feed.dealt
        topics, charts = topics_of(asked, since), charts_of(asked)
        older = [*self._of(asked.id, None if asked.id else asked.topics)]
        if not self._has_room(asked, older, topics, charts):
            client.lost(1008, "too many subscriptions")
            return
        at, reason = self._where(asked, since)
        if asked.id is not None:
            self._hub.ignore(client, older, self._charts_of(asked.id))
        elif at is None:
            for topic in topics:
                topic.begin(next((one.since for one in older if one.topic == topic.topic), since))
        else:
            client.forget(older)
        known = [one for one in self._of(None) if one not in older] if asked.id is None else []
        self._views.look(client, asked.views, asked.max_rate)
        self._hub.listen(client, topics, (((asked.id, number), chart) for number, chart in charts.items()))
        if reason is not None:
            ring = feed.ring
            client.say("resnapshot", id=asked.id, reason=reason, epoch=ring.epoch, oldest=feed.oldest, seq=since)
        start = since if at is None else at
        client.say("subscribed", **self._in_force(asked.id), **{"from": start + 1}, to=since, replaying=at is not None)
        if at is not None:
            told = framed(message("caught_up", {"id": asked.id, "seq": since}))
            client.replay(Replay(topics, at, since, told, known))

    def _must_know(self, asked: Subscribe) -> None:
        """Raise `Refused` for views that there are not, and for what this client may not see."""
        if asked.characteristic_ids and not self._who.may_read(CHART_TYPE):
            raise Refused("forbidden", "characteristic_ids: control charts need the scope read:spc.*", asked.id)
        for index, name in enumerate(asked.views):
            if not self._who.may_view(name):
                raise Refused("forbidden", f"views[{index}] needs the scope read:view.NAME", asked.id)
            try:
                self._views.find(name)
            except LookupError as error:
                known = ", ".join(self._views.names)
                raise Refused("unknown_view", f"views[{index}] is none of: {known}", asked.id) from error

    def _where(self, asked: Subscribe, since: int) -> tuple[int | None, str | None]:
        """After which number it begins, None for now; or why that cannot be."""
        if asked.after is None:
            return None, None
        oldest = self._feed.oldest
        if asked.after == 0:
            return oldest - 1, None
        if asked.epoch != self._feed.ring.epoch:
            return None, "epoch"
        if not oldest - 1 <= asked.after <= since:
            return None, "gone"
        return asked.after, None

    def _has_room(
        self, asked: Subscribe, older: Iterable[Topic], topics: Iterable[Topic], charts: dict[int, Chart]
    ) -> bool:
        client = self._client
        had = {(one.id, one.topic) for one in older} if asked.id else set()
        keys = {*client.topics} - had | {(one.id, one.topic) for one in topics}
        views = {*self._views.of(client), *asked.views}
        shown = {*client.charts} | {(asked.id, number) for number in charts}
        return len(keys) + len(views) <= self._limits.subscriptions and len(shown) <= self._limits.charts

    def _unsubscribe(self, asked: Unsubscribe) -> None:
        everything = asked.id is not None and not (asked.topics or asked.characteristic_ids or asked.views)
        charts = [*self._charts_of(asked.id, None if everything else asked.characteristic_ids)]
        self._hub.ignore(self._client, [*self._of(asked.id, None if everything else asked.topics)], charts)
        self._views.look_away(self._client, asked.views)
        self._client.say("unsubscribed", **self._in_force(asked.id))

    def _of(self, id: str | None, named: Iterable[str] | None = None) -> Iterable[Topic]:
        """The topics that a subscription has, those that are named or all."""
        return (
            topic
            for (each, name), topic in self._client.topics.items()
            if each == id and (named is None or name in named)
        )

    def _charts_of(
        self, id: str | None, named: Iterable[int] | None = None
    ) -> Iterable[tuple[tuple[str | None, int], Chart]]:
        return [
            (key, chart)
            for key, chart in self._client.charts.items()
            if key[0] == id and (named is None or key[1] in named)
        ]

    def _in_force(self, id: str | None) -> dict[str, Any]:
        return {
            "id": id,
            "topics": [one.topic for one in self._of(id)],
            "characteristic_ids": [number for (_, number), _ in self._charts_of(id)],
            "views": self._views.of(self._client),
        }
