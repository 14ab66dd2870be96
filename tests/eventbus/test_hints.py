"""Hints: what the public face is annotated with can be asked for at run time, as whoever injects or validates does."""

from __future__ import annotations

import importlib
import inspect
import typing
from collections.abc import Iterator

import pytest

FACES = ("eventbus", "eventbus.gateway", "eventbus.observability", "eventbus.testing", "quantum_trader.api")
# The bus itself asks them, or they name its stations, which are nobody's to build or to inject.
INSIDE = {
    *("Receipt", "Receipt.move", "Policy.key_of", "Stream.subscription"),
    *("Subscription.selector", "Subscription.policy", "Subscription.stats", "explanation"),
}


def public(face: str) -> Iterator[tuple[str, object]]:
    """What one can be asked for, by name: functions, classes, and what these can do."""
    module = importlib.import_module(face)
    for name in module.__all__:
        one = getattr(module, name)
        if inspect.isclass(one) or inspect.isfunction(one):
            yield name, one
        for below, member in vars(one).items() if inspect.isclass(one) else ():
            function = member.fget if isinstance(member, property) else member
            if inspect.isfunction(function) and not below.startswith("_"):
                yield f"{name}.{below}", function


@pytest.mark.parametrize("face", FACES)
def test_what_is_public_says_what_it_takes(face: str) -> None:
    unknown = set()
    for name, one in public(face):
        try:
            typing.get_type_hints(one)
        except NameError:
            unknown.add(name)
    assert unknown == (INSIDE if face == "eventbus" else set())
