"""Names become subjects and come back as they were, and the narrowest subject holds all that is asked for."""

from __future__ import annotations

import pytest

from eventbus.journal.nats.messages import lasting, message_id, subject_of, word, words


@pytest.mark.parametrize(
    ("types", "subject"),
    [
        (["trade.executed"], "trade.executed"),
        (["trade.*"], "trade.>"),
        (["trade.executed", "trade.denied"], "trade.>"),
        (["trade", "trade.denied"], ">"),
        (["trade.exec*"], "trade.>"),
        (["*"], ">"),
        (["[!t]*"], ">"),
        (["health.*", "trade.denied"], ">"),
        (["a.b.*", "a.b.c.d"], "a.b.>"),
        (["registry:bots"], "registry:bots"),
        (["typ.é"], "typ.%C3%A9"),
        (["a..b"], "a.%.b"),
    ],
)
def test_types_are_under_the_narrowest_subject(types: list[str], subject: str) -> None:
    assert subject_of(types) == subject


@pytest.mark.parametrize("name", ["", "a b", "a.b", "a*", ">", "é", "a\nb", "x" * 5_000, "é" * 5_000])
def test_any_name_is_one_word_that_a_server_takes(name: str) -> None:
    assert word(name)
    assert len(word(name)) < 500
    assert not {*word(name)} & {*". *>\r\n\t"}
    assert word(name) != word(name + "x")


def test_a_long_type_ends_in_a_word_that_no_part_is() -> None:
    assert words("a." * 300)[-1] == "%%"
    assert words("a." * 300)[:-1] == ["a"] * 200


def test_an_id_is_a_header_of_one_line() -> None:
    assert message_id("event-000001") == "event-000001"
    assert message_id("a@1") != "a@1"
    assert message_id("ä\n") == "%C3%A4%0A"


def test_a_lease_lasts_whole_seconds_and_no_fewer_than_asked() -> None:
    assert [lasting(ttl) for ttl in (0.2, 1, 1.5, 10)] == ["1", "1", "2", "10"]
