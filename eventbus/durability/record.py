"""Record: how an event is kept in a journal."""

from __future__ import annotations

from typing import TYPE_CHECKING

from eventbus.codec import encode_as, form_of
from eventbus.event import event_key
from eventbus.journal.values import Append

if TYPE_CHECKING:
    from eventbus.event import Event


def as_record(event: Event) -> Append:
    """How an event is kept in a journal. Raises `CodecError`."""
    form, spec, fields = form_of(event), event.__event__, event.__dict__
    type_ = form.type or event.type
    key = None if spec.key is None else event_key(event, spec.key)
    text = None if key is None else str(key)
    # As a plain call of Append, at a third of its price; and every field of the header is in the dictionary of the event.
    return tuple.__new__(
        Append,
        (
            fields["event_id"],
            type_,
            form.version,
            form.kind,
            text,
            int(fields["timestamp"].timestamp() * 1e9),
            fields["correlation_id"],
            fields["causation_id"],
            encode_as(form, event),
            f"{type_} {text or ''}" if spec.retain else None,
        ),
    )
