"""Inbox: what somebody outside asks of a run, from a process of their own; one file each, kept until the run has it.

A command is durable before whoever gave it is answered, and leaves when the journal holds it. It waits while the run is
stopped, and is taken before the next session that is new. What a run cannot take is refused: it stays beside, with the reason.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from eventbus import CodecError, Event
from eventbus.codec import encode
from quantum_trader.files import write_whole
from quantum_trader.snapshot import event_of, event_values
from quantum_trader.wiring import Operator

OPERATOR: Final = "operator"
"""Who commands from outside."""

_REASON: Final = 500  # characters of what is wrong with a command that are kept
_log = logging.getLogger(__name__)


class Inbox:
    """The commands in one folder. Event ids grow with time, so their names are in the order in which they were given.

    `accepts` are the classes that may be left there; whoever left one, it comes from `source`.
    """

    def __init__(
        self, folder: Path, *, accepts: tuple[type[Event], ...] = Operator.publishes, source: str = OPERATOR
    ) -> None:
        self._folder = folder
        self._accepts = accepts
        self._source = source
        self._refused: set[str] = set()

    def put(self, command: Event) -> None:
        """Leave a command. Raises `OSError`, `CodecError` for one that no journal could keep."""
        encode(command)
        self._folder.mkdir(exist_ok=True)
        write_whole(self._file(command.event_id), json.dumps(event_values(command)).encode())

    def waiting(self) -> Iterator[Event]:
        """What has not been taken out, oldest first; what a run would refuse is passed over. Changes nothing."""
        return (found for _, found in self._read() if isinstance(found, Event))

    def taken(self) -> Iterator[Event]:
        """The same for the run itself: what it cannot take is told, recorded in `refused.jsonl`, and asked for no more."""
        for file, found in self._read():
            if isinstance(found, Event):
                yield found
            else:
                self._refuse(file, found)

    def _read(self) -> Iterator[tuple[Path, Event | str]]:
        """Each file with the command in it, or with the reason why that is none."""
        if not self._folder.is_dir():  # most runs are never commanded, and are asked every session
            return
        for file in sorted(self._folder.glob("*.json")):
            if file.name not in self._refused:
                yield file, self._command(file)

    def _refuse(self, file: Path, reason: str) -> None:
        self._refused.add(file.name)
        _log.warning("%s: no command that a run takes, refused (%s)", ascii(str(file)), ascii(reason))
        try:
            with (self._folder / "refused.jsonl").open("a", encoding="ascii") as record:
                record.write(json.dumps({"file": file.name, "reason": reason}) + "\n")
            file.rename(file.with_suffix(".refused"))
        except OSError as error:  # it is left where it is, and this process looks at it no more
            _log.warning("%s: cannot be set aside (%s)", ascii(str(file)), error.strerror)

    def take_out(self, event_id: str) -> None:
        """It is in the journal: forget it here."""
        self._file(event_id).unlink(missing_ok=True)

    def _file(self, event_id: str) -> Path:
        return self._folder / f"{event_id}.json"

    def _command(self, file: Path) -> Event | str:
        """The command in a file, or why there is none that a run could take."""
        try:
            command = event_of(json.loads(file.read_bytes()))
            # Whoever can write here may command, and no more: a fill or an approval comes from those who make them.
            if not isinstance(command, self._accepts):
                return f"it is no command of {'an operator' if self._source == OPERATOR else self._source}"
            if command.event_id != file.stem:
                return "its name is not its id"
            command = command.model_copy(update={"source": self._source, "causation_id": None})
            encode(command)  # what no journal can keep must not come to a run: it could never go on from there
        except (OSError, ValueError, KeyError, TypeError, RecursionError, CodecError) as error:
            return f"{type(error).__name__}: {str(error)[:_REASON]}"
        return command
