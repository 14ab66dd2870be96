"""Inbox: what somebody outside asks of a run, from a process of their own; one file each, kept until the run has it.

A command is durable before whoever gave it is answered, and leaves when the journal holds it. It waits while the run is
stopped, and is taken before the next session that is new.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from eventbus import Event
from quantum_trader.files import write_whole
from quantum_trader.snapshot import event_of, event_values
from quantum_trader.wiring import Operator

OPERATOR: Final = "operator"
"""Who commands from outside."""

_log = logging.getLogger(__name__)


class Inbox:
    """The commands in one folder. Event ids grow with time, so their names are in the order in which they were given."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def put(self, command: Event) -> None:
        """Leave a command. Raises `OSError`."""
        self._folder.mkdir(exist_ok=True)
        write_whole(self._file(command.event_id), json.dumps(event_values(command)).encode())

    def waiting(self) -> Iterator[Event]:
        """What has not been taken out, oldest first. A file that holds no command is told, and set aside."""
        if not self._folder.is_dir():  # most runs are never commanded, and are asked every session
            return
        for file in sorted(self._folder.glob("*.json")):
            try:
                command = event_of(json.loads(file.read_bytes()))
                # Whoever can write here may command, and no more: a fill or an approval comes from those who make them.
                if not isinstance(command, Operator.publishes) or command.event_id != file.stem:
                    raise ValueError(command.type)
                yield command.model_copy(update={"source": OPERATOR, "causation_id": None})
            except (OSError, ValueError, KeyError, TypeError) as error:
                _log.warning("%s: no command that a run takes (%s); set aside", file, type(error).__name__)
                file.rename(file.with_suffix(".unreadable"))

    def take_out(self, event_id: str) -> None:
        """It is in the journal: forget it here."""
        self._file(event_id).unlink(missing_ok=True)

    def _file(self, event_id: str) -> Path:
        return self._folder / f"{event_id}.json"
