"""Wording: the text of anything, whatever it does when it is printed."""

from __future__ import annotations

from eventbus.wording import TEXT_CAP, capped, shown, text_of


class Unprintable:
    def __str__(self) -> str:
        raise KeyboardInterrupt

    def __repr__(self) -> str:
        raise RuntimeError("no")


class Odd:
    def __repr__(self) -> str:
        return 5  # type: ignore[return-value] # on purpose


def test_what_can_be_printed_is() -> None:
    assert (text_of("a"), text_of(5), shown("a")) == ("a", "5", "'a'")


def test_what_cannot_be_printed_says_what_it_is() -> None:
    assert text_of(Unprintable()) == "<its str() raised KeyboardInterrupt>"
    assert shown(Unprintable()) == "<Unprintable without a repr>"
    assert shown(Odd()) == "<Odd without a repr>"


def test_a_long_text_loses_its_middle() -> None:
    text = text_of("start" + "x" * 100_000 + "end")
    assert len(text) == TEXT_CAP
    assert text.startswith("start")
    assert text.endswith("end")
    assert capped("short") == "short"
    assert len(shown("x" * 1_000)) == 200
