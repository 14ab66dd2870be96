"""Library: the data sets there are, by name: the shipped one and those imported into a data directory."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from quantum_trader.market.dataset import SHIPPED
from quantum_trader.market.errors import MissingFile, quoted
from quantum_trader.market.layout import SUFFIX

DEMO: Final = "demo"  # the name of the shipped data set, which no import may take


def available(directory: Path) -> dict[str, Path]:
    """The file of each data set, by name in sorted order. A directory that does not exist yet holds none."""
    imported = {path.name.removesuffix(SUFFIX): path for path in sorted(directory.glob(f"[!.]*{SUFFIX}"))}
    return dict(sorted({**imported, DEMO: SHIPPED}.items()))


def find(name: str, directory: Path) -> Path:
    """The file of the data set called `name`. Raises `MissingFile`, which lists the names there are."""
    known = available(directory)
    if name not in known:
        raise MissingFile(f"no data set {quoted(name)}", remedy=f"known are {', '.join(known)}", file=directory)
    return known[name]
