"""Plain: values that JSON does not have, written so that they come back as they were. What a strategy remembers is kept so.

Lists, tuples, sets, mappings with any plain key, deques, decimals, times, numpy arrays and numbers, None, texts, floats.
"""

from __future__ import annotations

import math
from collections import Counter, OrderedDict, defaultdict, deque
from collections.abc import Callable, Mapping
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

import numpy as np

_AS_THEY_ARE: Final = frozenset({bool, int, str})
_MARK: Final = "$"


class NotPlain(TypeError):
    """A value of a strategy's state cannot be kept over a kill. Keep plain values, or define `state()` and `restore()`."""

    def __init__(self, place: str, value: object) -> None:
        super().__init__(
            f"{place} holds a {type(value).__name__}, which cannot be kept over a kill;"
            " keep numbers, texts, lists, dicts or arrays there, or define state() and restore()"
        )


def plain(value: Any, place: str) -> Any:
    """`value` in JSON values; `place` names it. Raises `NotPlain`."""
    kind = type(value)
    if value is None or kind in _AS_THEY_ARE:
        return value
    if kind is float:
        return value if math.isfinite(value) else {_MARK: "float", "of": repr(value)}
    if kind is list:
        return [plain(one, f"{place}[{number}]") for number, one in enumerate(value)]
    name = kind.__name__
    match value:
        case deque():
            return _marked(name, [plain(one, place) for one in value], size=value.maxlen)
        case tuple() if kind is tuple:
            return _marked(name, [plain(one, place) for one in value])
        case set() | frozenset():
            return _marked(name, [plain(one, place) for one in sorted(value, key=repr)])
        case dict() if kind in (dict, Counter, OrderedDict, defaultdict):
            pairs = [[plain(key, place), plain(one, f"{place}[{key!r}]")] for key, one in value.items()]
            factory = getattr(value, "default_factory", None)
            if kind is defaultdict and factory not in _FACTORIES.values():
                raise NotPlain(place, value)
            return _marked(name, pairs, **({"default": factory.__name__} if factory else {}))
        case Decimal():
            return _marked("Decimal", str(value))
        case datetime() | date():
            return _marked(name, value.isoformat())
        case np.ndarray() if value.dtype.kind in "biufM":
            rows = (
                value.astype("i8").tolist()
                if value.dtype.kind == "M"
                else [plain(x, place) for x in value.ravel().tolist()]
            )
            return _marked("array", rows, dtype=value.dtype.str, shape=list(value.shape))
        case np.generic() if value.dtype.kind in "biuf":
            return _marked("number", plain(value.item(), place), dtype=value.dtype.str)
    raise NotPlain(place, value)


def of_plain(kept: Any) -> Any:
    """The value that `plain` wrote."""
    if isinstance(kept, list):
        return [of_plain(one) for one in kept]
    if not isinstance(kept, Mapping):
        return kept
    return _READERS[kept[_MARK]](kept)


def _marked(kind: str, of: Any, **more: Any) -> dict[str, Any]:
    return {_MARK: kind, "of": of, **more}


def _array(kept: Mapping[str, Any]) -> Any:
    dtype = np.dtype(kept["dtype"])
    values = np.array([of_plain(one) for one in kept["of"]], dtype="i8" if dtype.kind == "M" else dtype)
    return values.astype(dtype).reshape(kept["shape"])


def _pairs(kept: Mapping[str, Any]) -> list[tuple[Any, Any]]:
    return [(of_plain(key), of_plain(one)) for key, one in kept["of"]]


def _items(kept: Mapping[str, Any]) -> list[Any]:
    return [of_plain(one) for one in kept["of"]]


_FACTORIES: Final[Mapping[str, Callable[[], Any]]] = {
    made.__name__: made for made in (int, float, list, dict, set, str, deque)
}
_READERS: Final[Mapping[str, Callable[[Mapping[str, Any]], Any]]] = {
    "float": lambda kept: float(kept["of"]),
    "deque": lambda kept: deque(_items(kept), maxlen=kept["size"]),
    "tuple": lambda kept: tuple(_items(kept)),
    "set": lambda kept: set(_items(kept)),
    "frozenset": lambda kept: frozenset(_items(kept)),
    "dict": lambda kept: dict(_pairs(kept)),
    "OrderedDict": lambda kept: OrderedDict(_pairs(kept)),
    "Counter": lambda kept: Counter(dict(_pairs(kept))),
    "defaultdict": lambda kept: defaultdict(_FACTORIES[kept["default"]] if "default" in kept else None, _pairs(kept)),
    "Decimal": lambda kept: Decimal(kept["of"]),
    "datetime": lambda kept: datetime.fromisoformat(kept["of"]),
    "date": lambda kept: date.fromisoformat(kept["of"]),
    "array": _array,
    "number": lambda kept: np.dtype(kept["dtype"]).type(of_plain(kept["of"])),
}
