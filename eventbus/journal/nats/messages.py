"""Messages: how names become subjects, and values become messages. A record's message is its body, with its labels in a header.

What is kept beside the log is one line of JSON, and then the bytes that belong to it, if any.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from hashlib import blake2b
from itertools import takewhile
from typing import Any, NamedTuple
from urllib.parse import quote

from nats.aio.msg import Msg
from pydantic_core import from_json, to_json

from eventbus.journal.remote.integrity import checksum
from eventbus.journal.remote.wildcards import is_pattern
from eventbus.journal.values import Append, Record

MSG_ID, EXPECTED_ID, TTL = "Nats-Msg-Id", "Nats-Expected-Last-Msg-Id", "Nats-TTL"
EXPECTED, EXPECTED_OF = "Nats-Expected-Last-Subject-Sequence", "Nats-Expected-Last-Subject-Sequence-Subject"
LABELS = "Eventbus"
_LONGEST = 400  # bytes of names in a subject: a server takes 4,096 in a line
_PLAIN = re.compile(r"[A-Za-z0-9_:/-]+")
_WILD = re.compile(r"[*?[]")


class Put(NamedTuple):
    """A message to be stored."""

    subject: str
    body: bytes = b""
    headers: Mapping[str, str] = {}


# --- subjects --------------------------------------------------------------------------------------------------------


def word(name: str) -> str:
    """A name as one word of a subject. One that is too long is told apart by its end alone."""
    if _PLAIN.fullmatch(name) and len(name) < _LONGEST:
        return name
    quoted = quote(name, safe=":/").replace(".", "%2E") or "%"
    return quoted if len(quoted) < _LONGEST else f"{quoted[:_LONGEST]}%%{hash_of(name)}"


def hash_of(name: str) -> str:
    """Short, and the same in every process."""
    return blake2b(name.encode(), digest_size=16).hexdigest()


def words(type_: str) -> list[str]:
    """A dotted type, each of its parts one word; what is too long ends in a word that no part is."""
    found, left = list[str](), _LONGEST
    for part in type_.split("."):
        found.append(word(part))
        left -= len(found[-1]) + 1
        if left < 0:
            return [*found[:-1], "%%"]
    return found


def subject_of(types: Iterable[str]) -> str:
    """The narrowest subject that all of these types are in, and those that the wildcards among them mean."""
    paths = []
    for name in types:
        if is_pattern(name):
            before = _WILD.split(name, maxsplit=1)[0].rpartition(".")[0]
            paths.append([*(each for each in words(before) if before and each != "%%"), ">"])
        else:
            paths.append(words(name))
    common = [each[0] for each in takewhile(lambda each: len({*each}) == 1, zip(*paths, strict=False))]
    if any(path != common for path in paths):
        common = [*(common[:-1] if common in paths else common), ">"]
    return ".".join(common)


def message_id(event_id: str) -> str:
    """An event id as the server knows it."""
    return event_id if _PLAIN.fullmatch(event_id) else quote(event_id, safe=":/") or "%"


# --- records ---------------------------------------------------------------------------------------------------------


def as_put(bus: str, item: Append, id_: str) -> Put:
    """A record to append. Those that are retained have subjects of their own, so that they are found."""
    subject = f"{bus}.{'log' if item.retain is None else 'retained'}.{'.'.join(words(item.type))}"
    labels = to_json([*item[:8], checksum(item), item.retain]).decode()
    return Put(subject, item.body, {MSG_ID: id_, LABELS: labels})


def place_of(message: Msg) -> int:
    """Its sequence in the stream."""
    return int(_headers(message)["Nats-Sequence"])


def stored_at(message: Msg) -> str:
    """The server's clock when it was stored: RFC 3339."""
    return _headers(message)["Nats-Time-Stamp"]


def subject(message: Msg) -> str:
    """What it was stored under."""
    return _headers(message)["Nats-Subject"]


def as_record(message: Msg) -> tuple[Record, bool]:
    """The record of a message, and whether it is as it was appended."""
    try:
        labels = from_json(_headers(message)[LABELS])
        record = Record._make((place_of(message), *labels[:8], message.data))
        return record, checksum(record) == labels[8]
    except (KeyError, ValueError, TypeError):
        return Record(place_of(message), "", "", 0, "", None, 0, None, None, message.data), False


def retained_as(message: Msg) -> str:
    """The name under which its body is retained."""
    return str(from_json(_headers(message)[LABELS])[9])


def _headers(message: Msg) -> Mapping[str, str]:
    return message.headers or {}


# --- what is kept beside -----------------------------------------------------------------------------------------------


def packed(fields: Sequence[Any], raw: bytes = b"") -> bytes:
    """One line of JSON, then bytes."""
    return to_json(fields) + b"\n" + raw


def unpacked(message: Msg) -> tuple[list[Any], bytes]:
    """The inverse."""
    line, _, raw = message.data.partition(b"\n")
    return from_json(line), raw


def lasting(ttl: float) -> str:
    """Seconds as the server takes them: whole ones, and no fewer than were asked for."""
    return str(max(1, math.ceil(ttl)))
