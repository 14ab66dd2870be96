"""URLs are taken apart as they are written."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventbus import PolicyConflict
from eventbus.url import Url, parse_url


def test_every_part_is_found_and_decoded() -> None:
    url = parse_url("redis://me:p%40ss%2Fword@example.org:6380/a%20b/c?name=x%26y&blank=")
    assert url == Url("redis", "example.org", 6380, "me", "p@ss/word", "a b/c", {"name": "x&y", "blank": ""})


def test_what_is_not_there_is_none() -> None:
    assert parse_url("memory://") == Url("memory")


def test_a_password_is_not_shown() -> None:
    assert "secret" not in repr(parse_url("redis://me:secret@example.org"))


@pytest.mark.parametrize(("text", "file"), [("a:///b/c", "b/c"), ("a:////b", "/b"), ("a:///%3F%23%25", "?#%")])
def test_a_file_is_the_path_without_its_first_slash(text: str, file: str) -> None:
    assert parse_url(text).file() == file


def test_a_path_object_is_a_file_as_it_is() -> None:
    assert Url("sqlite", path=Path("odd?name#1.db")).file() == "odd?name#1.db"


@pytest.mark.parametrize("text", ["a:///b\n", "a://b:99999999", "a://b:x", "a:///b?=c", "a:///b?c=1&&d=2", "a://[b/c"])
def test_what_cannot_be_told_is_refused(text: str) -> None:
    with pytest.raises(PolicyConflict, match="url: "):
        parse_url(text)
