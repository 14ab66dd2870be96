"""Opening: the bytes of a user's file become text, whatever they are packed and encoded in.

Knows nothing of columns and rows. Packing is told by the first bytes, not by the name: browsers unpack and keep the name.
"""

from __future__ import annotations

import gzip
import io
import zipfile
import zlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import BinaryIO, Final

from quantum_trader.market.errors import DamagedFile, MissingFile, Unusable, quoted

Opener = Callable[[Path], AbstractContextManager[BinaryIO]]
_GZIP: Final = b"\x1f\x8b"
_ZIP: Final = b"PK\x03\x04"
_UTF16: Final = (b"\xff\xfe", b"\xfe\xff")


def text_of(source: Path, opener: Opener, encoding: str | None) -> tuple[str, str]:
    """The whole text of `source` and the encoding that it is in. Raises `MissingFile`, `DamagedFile`, `Unusable`."""
    content = _unpacked(_content(source, opener), source)
    chosen = _encoding_of(content) if encoding is None else encoding
    try:
        return content.decode(chosen), chosen.removesuffix("-sig")
    except UnicodeError as cause:
        problem = f"not {'UTF-8' if encoding is None else encoding} text"
        remedy = "save it as CSV with UTF-8 encoding, or name its own with --encoding, such as cp1252"
        raise DamagedFile(problem, remedy=remedy, file=source) from cause
    except (LookupError, ValueError) as cause:
        raise Unusable(f"{quoted(chosen)} is not an encoding", remedy="name one such as cp1252") from cause


def _content(source: Path, opener: Opener) -> bytes:
    try:
        with opener(source) as raw:
            return raw.read()
    except FileNotFoundError as cause:
        raise MissingFile("no such file", remedy="check the path", file=source) from cause
    except OSError as cause:
        raise MissingFile(
            f"cannot be read ({cause.strerror})", remedy="check path and permissions", file=source
        ) from cause


def _unpacked(content: bytes, source: Path) -> bytes:
    if content.startswith(_GZIP):
        try:
            return gzip.decompress(content)
        except (gzip.BadGzipFile, EOFError, zlib.error) as cause:
            raise DamagedFile("not a whole gzip file", remedy="download or pack it again", file=source) from cause
    if content.startswith(_ZIP):
        return _only_member(content, source)
    if source.suffix == ".gz" and not content:
        raise DamagedFile("not a whole gzip file", remedy="download or pack it again", file=source)
    return content


def _only_member(content: bytes, source: Path) -> bytes:
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = [name for name in archive.namelist() if not name.endswith("/") and not name.startswith("__MACOSX/")]
            if "[Content_Types].xml" in names:
                raise DamagedFile("a spreadsheet, not text", remedy="save it as CSV", file=source)
            if len(names) != 1:
                shown = ", ".join(map(quoted, names[:5])) or "none"
                problem = f"{len(names)} files are packed in it ({shown})"
                raise DamagedFile(problem, remedy="unpack it and import them one by one", file=source)
            return archive.read(names[0])
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, EOFError, zlib.error) as cause:
        problem = "not a whole zip file, or one with a password"
        raise DamagedFile(problem, remedy="download or pack it again", file=source) from cause


def _encoding_of(content: bytes) -> str:
    """By its mark; without one, UTF-16 shows by a zero in every other byte of plain letters."""
    if content.startswith(_UTF16):
        return "utf-16"
    sample = content[:400]
    for encoding, zeros in (("utf-16-le", sample[1::2]), ("utf-16-be", sample[::2])):
        if len(zeros) > 8 and zeros.count(0) * 10 >= len(zeros) * 9:
            return encoding
    return "utf-8-sig"
