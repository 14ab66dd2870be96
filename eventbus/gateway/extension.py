"""Extension: what a program adds to the gateway of its bus: routes and pages of its own, views, and what can be done there."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from fastapi import APIRouter

from eventbus.gateway.views import Views


def _nothing() -> Collection[str]:
    return ()


def _redrivable(_subscription: str) -> str:
    return ""


def _none(_views: Views) -> None:
    """There are no more views."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Extension:
    """Routes beside those of the gateway; folders of files by the first part of their address; a page instead of the gateway's
    own; names of what can be done besides; `views`, which is called once to register more, or other ones of the same name; and
    `keeps`, which says why a dead letter of a subscription must not be delivered again, "" where it may.
    """

    routers: Sequence[APIRouter] = ()
    pages: Mapping[str, Path] = field(default_factory=dict)
    index: Path | None = None
    capabilities: Callable[[], Collection[str]] = _nothing
    views: Callable[[Views], None] = _none
    keeps: Callable[[str], str] = _redrivable
