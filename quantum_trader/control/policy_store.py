"""Policy store: the last policy on disk, so that a restart goes on with it and not with an optimistic guess.

A store that cannot be read fails closed: the answer is "none", and none means DEFENSIVE with entries blocked.
"""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from pydantic import ValidationError

from quantum_trader.events import PolicyUpdatedEvent
from quantum_trader.files import write_whole


class PolicyStoreError(Exception):
    """The policy could not be read or written. The policy in force stays; entries stay blocked if there is none."""

    def __init__(self, path: Path, problem: str) -> None:
        super().__init__(f"{path}: {problem}; restore the file, or remove it to start DEFENSIVE")
        self.path = path


class PolicyStore(Protocol):
    """Where the last policy is kept, for a run that goes on after its process ended."""

    def load(self) -> PolicyUpdatedEvent | None:
        """The last policy saved, None when there is none. Raises `PolicyStoreError`."""
        ...

    def save(self, policy: PolicyUpdatedEvent) -> None:
        """Keep a policy. Raises `PolicyStoreError`."""
        ...


class NoPolicyStore:
    """Keeps nothing: a replay starts from its first session."""

    def load(self) -> PolicyUpdatedEvent | None:
        return None

    def save(self, policy: PolicyUpdatedEvent) -> None:
        """Nothing to keep."""


class FilePolicyStore:
    """One JSON file, replaced whole."""

    def __init__(self, path: Path) -> None:
        self._path = path

    def load(self) -> PolicyUpdatedEvent | None:
        try:
            return PolicyUpdatedEvent.model_validate_json(self._path.read_bytes())
        except FileNotFoundError:
            return None
        except (OSError, ValidationError) as cause:
            raise PolicyStoreError(self._path, "not a readable policy") from cause

    def save(self, policy: PolicyUpdatedEvent) -> None:
        try:
            self._path.parent.mkdir(parents=True, exist_ok=True)
            # What a power cut leaves of it may be unreadable, which is safe; waiting for the disk would hold up the session.
            write_whole(self._path, policy.model_dump_json().encode(), durable=False)
        except OSError as cause:
            raise PolicyStoreError(self._path, f"cannot be written ({cause.strerror})") from cause

    def forget(self) -> None:
        """Start anew. Raises `PolicyStoreError`."""
        try:
            self._path.unlink(missing_ok=True)
        except OSError as cause:
            raise PolicyStoreError(self._path, f"cannot be removed ({cause.strerror})") from cause
