"""Layout: the one file form in which bars are kept, shipped and imported alike.

`<name>.csv.gz` holds raw bars, one line each, by symbol and then by time; `<name>.json` beside it, the manifest,
promises what is inside. Knows nothing of adjustment, sessions or users' own files.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, Literal

from pydantic import BaseModel, ConfigDict, ValidationError

from quantum_trader.market.adjust import RawBar
from quantum_trader.market.calendar import format_ts, parse_ts
from quantum_trader.market.errors import DamagedFile, MissingFile, NotImported, NotWritten

SUFFIX: Final = ".csv.gz"
HEADER: Final = "Ticker,Date,Open,High,Low,Close,Volume,Adj Close"
COMPRESS_LEVEL: Final = 6

_IMPORT = "import it with `qt data import`"
_RESTORE = "restore the file, or import it again"


class Manifest(BaseModel):
    """What a data file promises. `sha256` is of the uncompressed text: compressed bytes depend on the zlib version."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    layout: Literal[1] = 1
    name: str
    source: str  # where the bars came from, for people
    sha256: str
    rows: dict[str, int]  # bars per symbol


def manifest_path(path: Path) -> Path:
    """The manifest that belongs to a data file."""
    return path.with_name(path.name.removesuffix(SUFFIX) + ".json")


def line(symbol: str, row: RawBar) -> str:
    """One bar as a line of the file; floats by their shortest exact text, so that reading gives the same numbers."""
    prices = f"{row.open!r},{row.high!r},{row.low!r},{row.close!r}"
    volume = repr(row.volume).removesuffix(".0")  # as people write a number of shares
    return f"{symbol},{format_ts(row.ts)},{prices},{volume},{row.adj_close!r}\n"


def read(path: Path) -> tuple[Manifest, dict[str, list[RawBar]]]:
    """The manifest and the raw rows of each symbol, checked against each other.

    Raises `MissingFile`, `NotImported` (no manifest, or not this layout) and `DamagedFile` (anything else than
    promised).
    """
    manifest = read_manifest(path)
    content = _uncompressed(path)
    if hashlib.sha256(content).hexdigest() != manifest.sha256:
        raise DamagedFile("the content does not match the digest in its manifest", remedy=_RESTORE, file=path)
    rows = _parsed(content, path)
    if {symbol: len(of_symbol) for symbol, of_symbol in rows.items()} != manifest.rows:
        raise DamagedFile("the content does not match the row counts in its manifest", remedy=_RESTORE, file=path)
    return manifest, rows


def read_manifest(path: Path) -> Manifest:
    """The manifest of the data file at `path`; the same errors as `read`."""
    if not path.name.endswith(SUFFIX):
        raise NotImported(f"not a data set (*{SUFFIX})", remedy=_IMPORT, file=path)
    if not path.is_file():
        raise MissingFile("no such file", remedy="check the path", file=path)
    beside = manifest_path(path)
    try:
        return Manifest.model_validate_json(beside.read_bytes())
    except FileNotFoundError as cause:
        raise NotImported(f"its manifest {beside.name} is missing", remedy=_IMPORT, file=path) from cause
    except OSError as cause:
        raise _unreadable(beside, cause) from cause
    except ValidationError as cause:
        raise DamagedFile("not a manifest of this layout", remedy=_RESTORE, file=beside) from cause


def write(directory: Path, name: str, source: str, lines: Mapping[str, Iterable[str]]) -> Path:
    """Write the data file and its manifest and return the path of the former.

    `lines` holds, by symbol, what `line` made. The bytes depend on the arguments alone (no clock and no file name in
    the gzip header). Files appear whole or not at all, the manifest last. Raises `NotWritten`.
    """
    path = directory / (name + SUFFIX)
    digest, counts = hashlib.sha256(), dict.fromkeys(sorted(lines), 0)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with _replacing(manifest_path(path)) as promise, _replacing(path) as data:
            with gzip.GzipFile(filename="", mode="wb", fileobj=data, compresslevel=COMPRESS_LEVEL, mtime=0) as packed:
                for symbol, text in _with_header(lines):
                    if symbol is not None:
                        counts[symbol] += 1
                    encoded = text.encode()
                    digest.update(encoded)
                    packed.write(encoded)
            manifest = Manifest(name=name, source=source, sha256=digest.hexdigest(), rows=counts)
            promise.write(manifest.model_dump_json(indent=2).encode() + b"\n")
    except OSError as cause:
        raise NotWritten(
            f"cannot be written ({cause.strerror})", remedy="check space and permissions", file=path
        ) from cause
    return path


def _with_header(lines: Mapping[str, Iterable[str]]) -> Iterator[tuple[str | None, str]]:
    yield None, HEADER + "\n"
    for symbol in sorted(lines):
        for text in lines[symbol]:
            yield symbol, text


@contextmanager
def _replacing(path: Path) -> Iterator[BinaryIO]:
    """A new file beside `path` that takes its place when all went well, and vanishes when not."""
    draft = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with draft.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)


def _uncompressed(path: Path) -> bytes:
    try:
        return gzip.decompress(path.read_bytes())
    except (gzip.BadGzipFile, EOFError, zlib.error) as cause:
        raise DamagedFile("not a whole gzip file", remedy=_RESTORE, file=path) from cause
    except OSError as cause:
        raise _unreadable(path, cause) from cause


def _parsed(content: bytes, path: Path) -> dict[str, list[RawBar]]:
    header, *body = content.decode(errors="replace").removesuffix("\n").split("\n")
    if header != HEADER:
        raise DamagedFile(f"the columns are not {HEADER}", remedy=_RESTORE, file=path, row=1)
    rows: dict[str, list[RawBar]] = {}
    for number, text in enumerate(body, start=2):
        try:
            symbol, date, open_, high, low, close, volume, adj_close = text.split(",")
            row = RawBar(
                parse_ts(date), float(open_), float(high), float(low), float(close), float(volume), float(adj_close)
            )
        except ValueError as cause:
            raise DamagedFile("not a bar", remedy=_RESTORE, file=path, row=number) from cause
        rows.setdefault(symbol, []).append(row)
    return rows


def _unreadable(path: Path, cause: OSError) -> MissingFile:
    return MissingFile(f"cannot be read ({cause.strerror})", remedy="check the permissions", file=path)
