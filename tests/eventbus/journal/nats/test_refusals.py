"""What NATS alone can say no to is refused in time, by one typed error that names it and the remedy; and nothing is left half made."""

from __future__ import annotations

import json
from typing import Any

import nats
import pytest

from eventbus import BackendUnsafe, JournalUnavailable, PolicyConflict
from eventbus.journal.backends import journal_at
from eventbus.testing.journal_contract import item
from eventbus.testing.servers import NatsServer
from eventbus.testing.servers.nats import PASSWORD, USER
from tests.backends import name_of, refusal

pytestmark = pytest.mark.server


async def api(url: str, call: str, **body: Any) -> dict[str, Any]:
    """What the server says to such a call of JetStream."""
    place = url.partition("@")[2].partition("?")[0]
    client = await nats.connect(place, user=USER, password=PASSWORD, allow_reconnect=False)
    answer = await client.request(f"$JS.API.{call}", json.dumps(body).encode(), timeout=60)
    await client.close()
    said: dict[str, Any] = json.loads(answer.data)
    return said


async def streams(url: str) -> set[str]:
    return {*((await api(url, "STREAM.NAMES"))["streams"] or ())}


async def changed(url: str, stream: str, **changes: Any) -> None:
    """A bus is made there, and its stream is not as it was made afterwards."""
    async with journal_at(url):
        pass
    config = (await api(url, f"STREAM.INFO.{stream}"))["config"]
    said = await api(url, f"STREAM.UPDATE.{stream}", **(config | changes))
    assert "error" not in said, said


async def test_a_stream_of_somebody_else(nats_url: str) -> None:
    name = name_of(nats_url)
    await api(nats_url, f"STREAM.CREATE.{name}", name=name, subjects=[f"{name}.orders"])
    before = await streams(nats_url)
    error = await refusal(nats_url)
    assert isinstance(error, BackendUnsafe)
    assert name in error.setting
    assert "name=" in error.remedy
    assert await streams(nats_url) == before


async def test_subjects_of_somebody_else(nats_url: str) -> None:
    name = name_of(nats_url)
    await api(nats_url, f"STREAM.CREATE.other-{name}", name=f"other-{name}", subjects=[f"{name}.>"])
    error = await refusal(nats_url)
    assert isinstance(error, BackendUnsafe)
    assert "another stream" in error.setting
    assert name not in await streams(nats_url)


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"allow_atomic": False}, "allow_atomic"),
        ({"allow_direct": False}, "allow_direct"),
        ({"max_msgs": 1_000}, "max_msgs"),
        ({"max_age": 86_400_000_000_000}, "max_age"),
        ({"max_bytes": 1_000_000}, "max_bytes"),
        ({"metadata": {"eventbus": "99"}}, "format 99"),
    ],
)
async def test_a_log_that_would_lose_something(nats_url: str, changes: dict[str, Any], says: str) -> None:
    await changed(nats_url, name_of(nats_url), **changes)
    error = await refusal(nats_url)
    assert isinstance(error, BackendUnsafe)
    assert says in error.setting
    assert error.remedy


async def test_a_log_in_memory(nats_url: str) -> None:
    name = name_of(nats_url)
    config = {"subjects": [f"{name}.log.>"], "storage": "memory", "metadata": {"eventbus": "1"}}
    await api(nats_url, f"STREAM.CREATE.{name}", name=name, **config)
    error = await refusal(nats_url)
    assert isinstance(error, BackendUnsafe)
    assert "storage" in error.setting
    assert "memory" in error.setting
    assert f"{name}-meta" not in await streams(nats_url)


async def test_a_server_that_is_too_old(nats_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("eventbus.journal.nats.storage._OLDEST", (99, 0))  # of none older is there a wheel
    error = await refusal(nats_url)
    assert isinstance(error, BackendUnsafe)
    assert "too old" in error.setting
    assert "2.12" in error.remedy
    assert name_of(nats_url) not in await streams(nats_url)


async def test_a_token_that_is_wrong_and_one_that_is_right() -> None:
    with NatsServer(config='authorization { token: "s3cret" }') as server:
        for wrong in (f"nats://n0ne@127.0.0.1:{server.port}", f"nats://127.0.0.1:{server.port}?token=n0ne"):
            error = await refusal(wrong)
            assert isinstance(error, JournalUnavailable)
            assert "token" in str(error)
            assert "n0ne" not in str(error)
        for right in (f"nats://s3cret@127.0.0.1:{server.port}", f"nats://127.0.0.1:{server.port}?token=s3cret"):
            async with journal_at(right) as journal:
                assert "s3cret" not in repr(journal)


async def test_a_server_without_jetstream_or_rights() -> None:
    more = """
    accounts {
        PLAIN { users: [{ user: plain, password: p }] }
        FULL { jetstream: enabled, users: [{ user: guest, password: p, permissions: { publish: ["$JS.API.STREAM.INFO.>"] } }] }
    }
    """
    with NatsServer(config=more) as server:
        error = await refusal(f"nats://plain:p@127.0.0.1:{server.port}")
        assert isinstance(error, BackendUnsafe | JournalUnavailable)
        assert "JetStream" in str(error)
        error = await refusal(f"nats://guest:p@127.0.0.1:{server.port}")
        assert isinstance(error, JournalUnavailable)
        assert "let the user publish" in str(error)


async def test_tls_that_is_asked_for_and_not_there(nats_url: str) -> None:
    error = await refusal(f"{nats_url}&ssl=true")
    assert isinstance(error, JournalUnavailable)
    assert "check ssl=" in str(error)


@pytest.mark.parametrize(
    ("url", "setting"),
    [
        ("nats://localhost/desk", "url"),
        ("nats://localhost?ssl=/no/such/file", "ssl"),
        ("nats://localhost?dedupe_s=0", "dedupe_s"),
    ],
)
def test_what_cannot_be(url: str, setting: str) -> None:
    with pytest.raises(PolicyConflict) as refused:
        journal_at(url)
    assert refused.value.argument == setting


async def test_a_record_that_is_larger_than_the_server_takes(nats_url: str) -> None:
    async with journal_at(nats_url) as journal:
        with pytest.raises(JournalUnavailable, match="max_payload"):
            await journal.append([item(1), item(2, body=bytes(1 << 20))])
        assert (await journal.append([item(3)]))[0].offset == 1
