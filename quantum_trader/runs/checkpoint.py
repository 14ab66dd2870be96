"""Checkpoint: what a run remembers after a session's last barrier, and how far its journal was then.

A file is whole or it is no checkpoint: the digest in its first line says so. The newest two are kept, so that one that was
damaged costs time and nothing else.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from typing import Any, Final

from pydantic_core import to_json

from quantum_trader.files import write_whole
from quantum_trader.runs.folder import CHECKPOINTS, RunFolder

FORMAT: Final = 1
_KEPT: Final = 2


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """`session` is the last one completed, `offset` the last journal record of it, `letters` the id of its newest dead letter."""

    run_id: str
    session: int
    offset: int
    letters: int
    state: Mapping[str, Any]
    format: int = FORMAT


def save(folder: RunFolder, checkpoint: Checkpoint) -> None:
    """Write it, then remove all but the newest. Raises `OSError`."""
    # Not `asdict`: it copies the state, value by value, and that takes three times as long as writing it.
    body = to_json({field.name: getattr(checkpoint, field.name) for field in fields(checkpoint)})
    head = hashlib.sha256(body).hexdigest().encode()
    write_whole(folder.path / f"checkpoint-{checkpoint.session:08}.json", head + b"\n" + body + b"\n")
    for old in sorted(folder.path.glob(CHECKPOINTS))[:-_KEPT]:
        old.unlink()


def saved(folder: RunFolder, run_id: str) -> Iterator[Checkpoint]:
    """The whole checkpoints of this run, newest first; what is torn, foreign or of another format is passed over."""
    for path in sorted(folder.path.glob(CHECKPOINTS), reverse=True):
        head, _, body = path.read_bytes().partition(b"\n")
        body = body.removesuffix(b"\n")
        if hashlib.sha256(body).hexdigest().encode() != head:
            continue
        fields = json.loads(body)
        if (fields["format"], fields["run_id"]) == (FORMAT, run_id):
            yield Checkpoint(**fields)
