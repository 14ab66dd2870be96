"""Config: from a URL, a dict or keywords to a bus. Backends are registered by name; plug-ins bring a journal or a whole bus."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any, Literal, cast, overload

from eventbus.bounds import seconds, whole
from eventbus.bus import InMemoryEventBus
from eventbus.durability.journaled import Behind, Journaled
from eventbus.durability.retention import Retention
from eventbus.durability.shared import Shared
from eventbus.errors import BackendTaken, PolicyConflict, UnknownBackend
from eventbus.interface import EventBus
from eventbus.journal.backends import journal_of
from eventbus.journal.protocol import Journal
from eventbus.journal.shared import SharedJournal
from eventbus.settings import Text, refuse_unknown, typed, types_of
from eventbus.url import Url, parse_url
from eventbus.wording import shown

_ENTRY_POINTS = "eventbus.backends"
_PARTS = ("host", "port", "user", "password", "path")

Settings = Mapping[str, Any]


# --- the face ------------------------------------------------------------------------------------------------------


@overload
def create_event_bus(source: Literal["memory", "memory://"], **settings: Any) -> InMemoryEventBus: ...
@overload
def create_event_bus(source: None = None, *, backend: str, **settings: Any) -> EventBus: ...
@overload
def create_event_bus(source: None = None, **settings: Any) -> InMemoryEventBus: ...
@overload
def create_event_bus(source: str | Settings | None, **settings: Any) -> EventBus: ...
def create_event_bus(source: str | Settings | None = None, **settings: Any) -> EventBus:
    """A bus from `"memory://"`, `"sqlite:///run.db"`, ..., from `{"backend": "redis", ...}`, or from keywords; memory by default.

    What stands in a URL is read as the type of its setting. Over a journal there are, besides the settings of `InMemoryEventBus`
    and of the backend: `journal_quotes`; `write_behind`, with `batch` and `delay` (see `Behind`); `retention`, or `retention_s`
    and `retention_bytes` (see `Retention`). Raises `UnknownBackend` (a `ValueError`) that lists those available, `MissingDriver`,
    and `PolicyConflict` for an unknown setting or a value that cannot be.
    """
    if not (source is None or isinstance(source, str | Mapping)):
        raise PolicyConflict(
            "source", f"{shown(source)} is neither a URL, such as sqlite:///run.db, nor a dict of settings"
        )
    chosen = _from_url(source) if isinstance(source, str) else dict(source or {})
    chosen.update(settings)
    if "connection_string" in chosen:
        chosen = _with_connection(chosen)
    name = str(chosen.pop("backend", "memory"))
    make = _known().get(name)
    if make is None:
        raise UnknownBackend(name, available_backends())
    return make(chosen)


def register_backend(
    name: str,
    *,
    journal: Callable[[Settings], Journal] | None = None,
    bus: Callable[[Settings], EventBus] | None = None,
) -> None:
    """Make `create_event_bus(name + "://...")` work: over the journal that `journal(settings)` gives, or with the bus of `bus(settings)`.

    The settings of a URL are its parts (url, host, port, user, password, path), and its query as texts; a journal gets those that
    are not the bus's own. Raises `BackendTaken`, and `PolicyConflict` unless there is exactly one of the two.
    """
    if name in _known():
        raise BackendTaken(name)
    if journal is not None and bus is None:
        brings = journal
        _registered[name] = lambda settings: _over(brings, settings)
    elif bus is not None and journal is None:
        _registered[name] = bus
    else:
        raise PolicyConflict("register_backend", "takes exactly one of journal= and bus=")


def unregister_backend(name: str) -> None:
    """Forget a backend that was registered. Raises `UnknownBackend`, and `PolicyConflict` for one that is built in or installed."""
    if name not in _known():
        raise UnknownBackend(name, available_backends())
    if name not in _registered:
        raise PolicyConflict("name", f"{name!r} was not registered by register_backend(): it stays")
    del _registered[name]


def available_backends() -> tuple[str, ...]:
    """The names that `create_event_bus` knows."""
    return tuple(sorted(_known()))


def default_bus() -> InMemoryEventBus:
    """The bus of this process, in memory, made on first use; it starts by itself.

    For applications that want one global bus; handing one to whoever needs it is the recommended way. After its shutdown, and in a
    forked child, there is another one.
    """
    return _default.get()


class _Default:
    """The one process-wide object."""

    def __init__(self) -> None:
        self.renew()

    def renew(self) -> None:
        """This is another process: the lock may be held by a thread that it does not have."""
        self.lock, self.bus = threading.Lock(), None

    def get(self) -> InMemoryEventBus:
        """It, or another one where it was shut down."""
        with self.lock:
            if self.bus is None or self.bus.is_shut:
                self.bus = InMemoryEventBus(autostart=True)
            return self.bus

    bus: InMemoryEventBus | None


_default = _Default()
if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_default.renew)


# --- which there are -----------------------------------------------------------------------------------------------

_registered: dict[str, Callable[[Settings], EventBus]] = {}


def _known() -> dict[str, Callable[[Settings], EventBus]]:
    plugins = {point.name: _loading(point) for point in entry_points(group=_ENTRY_POINTS)}
    return {"memory": _memory, **_JOURNALS} | plugins | _registered


def _loading(point: Any) -> Callable[[Settings], EventBus]:
    def make(settings: Settings) -> EventBus:
        bus: EventBus = point.load()(settings)
        return bus

    return make


def _memory(settings: Settings) -> InMemoryEventBus:
    wanted = {key: value for key, value in settings.items() if key != "url"}
    if place := [str(wanted[key]) for key in _PARTS if key in wanted]:
        raise PolicyConflict("memory backend", f"it is nowhere, and not at {place[0]!r}: write memory://")
    known = types_of(InMemoryEventBus, without=("store",))
    refuse_unknown("memory", wanted, known)
    return InMemoryEventBus(**typed(wanted, known))


def _over_journal(
    scheme: str, *, also: Mapping[str, str], shares: tuple[str, ...] = ()
) -> Callable[[Settings], InMemoryEventBus]:
    """Over a journal that is built in. `also` names settings as they are called elsewhere, `shares` those of bus and journal both."""

    def make(settings: Settings) -> InMemoryEventBus:
        settings = {also.get(key, key): value for key, value in settings.items()}
        place = Url(scheme, **{key: settings[key] for key in _PARTS if key in settings})
        of_bus = {*types_of(InMemoryEventBus, without=("store",)), *_STORE}

        def journal(mine: Settings) -> Journal:
            wanted = {key: value for key, value in mine.items() if key not in (*_PARTS, "url")}
            wanted.update({key: settings[key] for key in shares if key in settings})
            return journal_of(place, wanted, besides=of_bus)

        return _over(journal, settings)

    return make


def _over(journal: Callable[[Settings], Journal], settings: Settings) -> InMemoryEventBus:
    """A bus over the journal that is made of what is not meant for the bus."""
    for_bus = types_of(InMemoryEventBus, without=("store",))
    rest = {key: value for key, value in settings.items() if key not in for_bus and key not in _STORE}
    bus = typed({key: value for key, value in settings.items() if key in for_bus}, for_bus)
    mine = typed({key: value for key, value in settings.items() if key in _STORE}, _STORE)
    common = {
        "journal_quotes": mine.get("journal_quotes", True),
        "retention": _retention(mine),
        "behind": _behind(mine),
    }
    made = journal({key: value for key, value in rest.items() if key not in _SHARED})
    if "shared" in made.capabilities:
        both = typed({key: settings[key] for key in _SHARED if key in settings}, _SHARED)
        return InMemoryEventBus(store=Shared(cast(SharedJournal, made), **common, **both), **bus)
    if sharing := [key for key in _SHARED if key in rest]:
        raise PolicyConflict(sharing[0], "is for a bus that processes share: use postgresql://, redis:// or nats://")
    return InMemoryEventBus(store=Journaled(made, **common), **bus)


def _on_server(scheme: str, **also: str) -> Callable[[Settings], InMemoryEventBus]:
    return _over_journal(scheme, also={"channel_prefix": "name", **also}, shares=("name", "poll", "timeout_s"))


_JOURNALS = {
    "nats": _on_server("nats"),
    "sqlite": _over_journal("sqlite", also={}),
    "postgres": _on_server("postgres", db="path"),
    "postgresql": _on_server("postgresql", db="path"),
    "redis": _on_server("redis", db="path"),
    "rediss": _on_server("rediss", db="path"),
}
_SAME = {"postgresql": "postgres", "rediss": "redis"}
"""Backends by their other names. Which of them a text begins with may mean something: with TLS or without."""

_STORE: Mapping[str, Any] = {
    "journal_quotes": bool,
    "write_behind": bool,
    "batch": int,
    "delay": float,
    "retention": Retention,
    "retention_s": float,
    "retention_bytes": int,
}


_SHARED: Mapping[str, Any] = {
    "lease": float,
    "parts": int,
    "poll": float,
    "timeout_s": float,
    "on_data_loss": str,
    "forget_after": float,
}


def _retention(settings: Settings) -> Retention | None:
    retention: Retention | None = settings.get("retention")
    bounds = {
        name: settings[key]
        for key, name in (("retention_s", "max_age"), ("retention_bytes", "max_bytes"))
        if key in settings
    }
    if bounds and retention is not None:
        raise PolicyConflict("retention", "is given whole, or as retention_s and retention_bytes")
    if "max_age" in bounds:
        seconds("retention_s", bounds["max_age"])
    if "max_bytes" in bounds:
        whole("retention_bytes", bounds["max_bytes"])
    return Retention(**bounds) if bounds else retention


def _behind(settings: Settings) -> Behind | None:
    options = {key: settings[key] for key in ("batch", "delay") if key in settings}
    if settings.get("write_behind", False):
        return Behind(**options)
    if options:
        raise PolicyConflict(next(iter(options)), "is for a journal that is written behind: set write_behind=True")
    return None


# --- what is given -------------------------------------------------------------------------------------------------


def _with_connection(settings: Settings) -> dict[str, Any]:
    """Beside a dict of settings the place may be one text, as drivers have it. What is given besides wins."""
    text = settings["connection_string"]
    if not isinstance(text, str) or "://" not in text:
        raise PolicyConflict("connection_string", "is no URL such as postgresql://user:password@host:5432/database")
    place = _from_url(text)
    named, meant = str(settings.get("backend", place["backend"])), place["backend"]
    if _SAME.get(named, named) != _SAME.get(meant, meant):
        raise PolicyConflict("connection_string", f"is of {meant}, and backend says {named}")
    return place | {key: value for key, value in settings.items() if key not in ("connection_string", "backend")}


def _from_url(text: str) -> dict[str, Any]:
    if ":" not in text:
        return {"backend": text}
    url = parse_url(text)
    if taken := {"backend", "url", *_PARTS}.intersection(url.query):
        raise PolicyConflict("url", f"{min(taken)} is a part of the URL itself and no setting after '?'")
    parts = {"host": url.host, "port": url.port, "user": url.user, "password": url.password, "path": url.path}
    settings: dict[str, Any] = {key: value for key, value in parts.items() if value is not None}
    settings.update({key: Text(value) for key, value in url.query.items()})
    if settings:
        settings["url"] = text
    return {"backend": url.scheme, **settings}
