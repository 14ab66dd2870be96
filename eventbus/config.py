"""Config: from a URL, a dict or keywords to a bus. Backends are registered by name; plug-ins bring their own."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.metadata import entry_points
from typing import Any

from eventbus.bus import InMemoryEventBus
from eventbus.errors import BackendTaken, PolicyConflict, UnknownBackend
from eventbus.journal.backends import journal_at
from eventbus.journaled import JournaledEventBus
from eventbus.retention import Retention
from eventbus.trailing import TrailingEventBus
from eventbus.url import Url, parse_url

_ENTRY_POINTS = "eventbus.backends"
_PARTS = frozenset({"backend", "url", "host", "port", "user", "password", "path"})

Factory = Callable[[Mapping[str, Any]], Any]
_backends: dict[str, Factory] = {}


def register_backend(name: str, factory: Factory) -> None:
    """Make `create_event_bus(name + "://...")` call `factory(settings)`. Raises `BackendTaken`.

    The settings of a URL are its parts: url, host, port, user, password, path, and the query as further keys.
    """
    if name in _known():
        raise BackendTaken(name)
    _backends[name] = factory


def create_event_bus(source: str | Mapping[str, Any] | None = None, **settings: Any) -> Any:
    """A bus from `"memory://"`, `"sqlite:///run.db"`, ..., from `{"backend": "redis", ...}`, or from keywords; memory by default.

    Raises `UnknownBackend` (a `ValueError`) that lists those available, `MissingDriver`, `PolicyConflict` for an unknown setting.
    """
    chosen = _from_url(source) if isinstance(source, str) else dict(source or {})
    chosen.update(settings)
    name = str(chosen.pop("backend", "memory"))
    factory = _known().get(name)
    if factory is None:
        raise UnknownBackend(name, _known())
    return factory(chosen)


def available_backends() -> tuple[str, ...]:
    """The names that `create_event_bus` knows."""
    return tuple(sorted(_known()))


def _known() -> dict[str, Factory]:
    plugins = {point.name: _loading(point) for point in entry_points(group=_ENTRY_POINTS)}
    return plugins | _backends


def _loading(point: Any) -> Factory:
    def factory(settings: Mapping[str, Any]) -> Any:
        return point.load()(settings)

    return factory


def _from_url(text: str) -> dict[str, Any]:
    if ":" not in text:
        return {"backend": text}
    url = parse_url(text)
    if taken := _PARTS.intersection(url.query):
        raise PolicyConflict("url", f"{min(taken)} is a part of the URL itself and no setting after '?'")
    parts = {"host": url.host, "port": url.port, "user": url.user, "password": url.password, "path": url.path}
    settings: dict[str, Any] = {key: value for key, value in parts.items() if value is not None}
    settings.update({key: _value(value) for key, value in url.query.items()})
    if settings:
        settings["url"] = text
    return {"backend": url.scheme, **settings}


def _value(text: str) -> Any:
    if text.lower() in ("true", "false"):
        return text.lower() == "true"
    for kind in (int, float):
        try:
            return kind(text)
        except ValueError:
            continue
    return text


def _memory(settings: Mapping[str, Any]) -> InMemoryEventBus:
    wanted = {key: value for key, value in settings.items() if key != "url"}
    if place := [str(wanted[key]) for key in ("host", "port", "user", "path") if key in wanted]:
        raise PolicyConflict("memory backend", f"it is nowhere, and not at {place[0]!r}: write memory://")
    try:
        return InMemoryEventBus(**wanted)
    except TypeError as error:
        known = "max_queue_size, max_workers, max_bytes, reserve, history, grace, clock, seed, name, identify"
        raise PolicyConflict("memory backend", f"{error}; its settings are {known}") from error


def _sqlite(settings: Mapping[str, Any]) -> JournaledEventBus | TrailingEventBus:
    """`sqlite:///run.db`: a path relative to the working directory; `sqlite:////var/run.db`: an absolute one.

    With `write_behind` events are dispatched at once and journalled in batches behind; see `TrailingEventBus`.
    `retention_s` and `retention_bytes` bound what is kept; see `Retention`.
    """
    chosen = {key: value for key, value in settings.items() if key != "url"}
    place = Url(
        "sqlite", **{key: chosen.pop(key) for key in ("host", "port", "user", "password", "path") if key in chosen}
    )
    for_journal = {
        key: chosen.pop(key) for key in ("synchronous", "allow_damaged", "accept_end", "keep_outcomes") if key in chosen
    }
    bounds = {
        name: chosen.pop(key)
        for key, name in (("retention_s", "max_age"), ("retention_bytes", "max_bytes"))
        if key in chosen
    }
    if bounds:
        chosen["retention"] = Retention(**bounds)
    bus = TrailingEventBus if chosen.pop("write_behind", False) else JournaledEventBus
    try:
        return bus(journal_at(place, **for_journal), **chosen)
    except TypeError as error:
        raise PolicyConflict("sqlite backend", str(error)) from error


register_backend("memory", _memory)
register_backend("sqlite", _sqlite)
