"""Journal: what the durable log, or the server that keeps it, could not do."""

from __future__ import annotations

from eventbus.errors.usage import EventBusError


class JournalError(EventBusError):
    """The durable log could not do what was asked."""


class JournalUnavailable(JournalError):
    """The journal cannot be written or read now; nothing was accepted. Free the disk or fix the mount, then publish again."""

    def __init__(self, path: str, reason: str) -> None:
        super().__init__(f"journal {path}: {reason}; nothing was accepted")
        self.path = path
        self.reason = reason


class JournalInUse(JournalError):
    """Another process writes this journal. Stop it, or use another file."""

    def __init__(self, path: str, owner: str) -> None:
        super().__init__(f"journal {path} is in use by {owner}: stop it or use another file")
        self.path = path
        self.owner = owner


class JournalDamaged(JournalError):
    """Records are missing or altered, or it cannot be told. Restore a copy, or open with allow_damaged=True (a copy is kept first).

    `is_end`: only its end is missing or in doubt; `accept_end=True`, or `eventbus repair FILE --accept-end`, goes on with what is there.
    """

    def __init__(
        self, path: str, *, first_bad: int | None, last_good: int, expected: int, reason: str, is_end: bool = False
    ) -> None:
        remedy = (
            "accept the end as it is (eventbus repair FILE --accept-end)"
            if is_end
            else "open it with allow_damaged=True"
        )
        super().__init__(
            f"journal {path} is damaged ({reason}): last good record {last_good}, expected {expected}; "
            f"restore a copy or {remedy}"
        )
        self.path = path
        self.first_bad = first_bad
        self.last_good = last_good
        self.expected = expected
        self.reason = reason
        self.is_end = is_end


class IdConflict(JournalError, ValueError):
    """An event with this id but another body is journalled already. Give the new fact a new id."""

    def __init__(self, event_id: str) -> None:
        super().__init__(f"event id {event_id} is journalled already with another body: give the new fact a new id")
        self.event_id = event_id


class OutcomeUnknown(JournalError):
    """The connection broke during the commit: the event may be accepted or not. Publish the same event again, an id counts once.

    Without an id it was another change of the journal: ask for it again.
    """

    def __init__(self, event_id: str, reason: str) -> None:
        super().__init__(
            f"event {event_id} may or may not be accepted ({reason}): publish the same event again"
            if event_id
            else f"the change may or may not be made ({reason}): ask for it again"
        )
        self.event_id = event_id
        self.reason = reason


class OffsetGone(JournalError, LookupError):
    """The offset was removed by retention. Start from `oldest`, or from a snapshot."""

    def __init__(self, offset: int, oldest: int) -> None:
        super().__init__(f"offset {offset} was removed by retention: the oldest kept is {oldest}")
        self.offset = offset
        self.oldest = oldest


class BackendUnsafe(JournalError):
    """The server would break a promise of the bus: `setting` is what stands in the way. Mend it as the message says, then connect again."""

    def __init__(self, backend: str, setting: str, remedy: str) -> None:
        super().__init__(f"{backend} refused: {setting}; {remedy}")
        self.backend = backend
        self.setting = setting
        self.remedy = remedy


class BackendDataLoss(JournalError):
    """The server has less than this process saw, or is another one: it went back to an older copy, or was made anew.

    Restore what is missing, or go on with what is there by `await bus.accept_data_loss()`.
    """

    def __init__(self, expected: str, found: str) -> None:
        super().__init__(
            f"the server lost data: expected {expected}, found {found}; restore it, or await bus.accept_data_loss()"
        )
        self.expected = expected
        self.found = found


class LeaseLost(JournalError):
    """Somebody else has the lease by now, or nobody: nothing was changed. Acquire it again, and ask again under its new token."""

    def __init__(self, name: str, token: int) -> None:
        super().__init__(f"lease {name!r} is not held under token {token} any more: acquire it again")
        self.name = name
        self.token = token


class ValueChanged(JournalError):
    """The value was changed by somebody else since version `expected`. Look at `value`, and put yours on `version` if it still holds."""

    def __init__(self, space: str, name: str, expected: int, version: int, value: bytes | None) -> None:
        super().__init__(
            f"value {name!r} of {space!r} has version {version} and not {expected}: look at it and put on that version"
        )
        self.space = space
        self.name = name
        self.expected = expected
        self.version = version
        self.value = value
