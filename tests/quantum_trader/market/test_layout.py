from __future__ import annotations

import gzip
import hashlib
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from quantum_trader.market import layout
from quantum_trader.market.adjust import RawBar
from quantum_trader.market.errors import DamagedFile, MissingFile, NotImported, NotWritten

ROW = RawBar(datetime(2020, 1, 2, tzinfo=UTC), 10.0, 11.5, 9.25, 10.1, 1_000, 9.3456789012345)
LATER = ROW._replace(ts=datetime(2020, 1, 3, 14, 30, tzinfo=UTC), close=10.000001)
HELD = {"B": [ROW, LATER], "A": [ROW]}


def written(directory: Path, name: str = "mine") -> Path:
    lines = {symbol: [layout.line(symbol, row) for row in rows] for symbol, rows in HELD.items()}
    return layout.write(directory, name, "a test", lines)


def test_a_line_holds_every_digit() -> None:
    assert layout.line("A", ROW) == "A,2020-01-02,10.0,11.5,9.25,10.1,1000,9.3456789012345\n"


def test_what_is_written_is_read(tmp_path: Path) -> None:
    manifest, rows = layout.read(written(tmp_path))
    assert rows == HELD
    assert (manifest.name, manifest.source, manifest.rows) == ("mine", "a test", {"A": 1, "B": 2})


def test_bytes_depend_on_the_bars_alone(tmp_path: Path) -> None:
    one, other = written(tmp_path / "one"), written(tmp_path / "other", "yours")
    assert one.read_bytes() == other.read_bytes()
    header = one.read_bytes()[:10]
    assert header[3:8] == bytes(5), "no file name, no time"


def test_nothing_else_is_left_in_the_directory(tmp_path: Path) -> None:
    written(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["mine.csv.gz", "mine.json"]


def test_lines_that_fail_leave_nothing_behind(tmp_path: Path) -> None:
    def torn() -> Iterator[str]:
        yield layout.line("A", ROW)
        raise RuntimeError("the lines ended early")

    path = written(tmp_path)
    before = {file.name: file.read_bytes() for file in tmp_path.iterdir()}
    with pytest.raises(RuntimeError):
        layout.write(tmp_path, "mine", "again", {"A": torn()})
    assert {file.name: file.read_bytes() for file in tmp_path.iterdir()} == before
    assert layout.read(path)[1] == HELD


def test_a_directory_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(NotWritten, match=r"mine\.csv\.gz: cannot be written \(.*\); check space and permissions"):
        written(tmp_path / "data")


def test_an_absent_file_is_missing(tmp_path: Path) -> None:
    with pytest.raises(MissingFile, match=r"none\.csv\.gz: no such file; check the path"):
        layout.read(tmp_path / "none.csv.gz")


def test_a_plain_csv_is_not_imported(tmp_path: Path) -> None:
    path = tmp_path / "mine.csv"
    path.write_text("Date,Open\n")
    with pytest.raises(NotImported, match="import it with `qt data import`"):
        layout.read(path)


def test_a_file_without_manifest_is_not_imported(tmp_path: Path) -> None:
    path = written(tmp_path)
    layout.manifest_path(path).unlink()
    with pytest.raises(NotImported, match=r"its manifest mine\.json is missing"):
        layout.read(path)


def test_a_file_that_cannot_be_read_is_missing(tmp_path: Path) -> None:
    path = written(tmp_path)
    layout.manifest_path(path).unlink()
    layout.manifest_path(path).mkdir()
    with pytest.raises(MissingFile, match=r"mine\.json: cannot be read"):
        layout.read(path)


@pytest.mark.parametrize("manifest", ["", "[]", '{"name": "mine"}', '{"layout": 2}'])
def test_a_manifest_of_another_kind_is_damaged(tmp_path: Path, manifest: str) -> None:
    path = written(tmp_path)
    layout.manifest_path(path).write_text(manifest)
    with pytest.raises(DamagedFile, match=r"mine\.json: not a manifest") as raised:
        layout.read(path)
    assert "\n" not in str(raised.value)


def test_one_changed_digit_is_damage(tmp_path: Path) -> None:
    path = written(tmp_path)
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()).replace(b"9.25", b"9.26")))
    with pytest.raises(DamagedFile, match="does not match the digest"):
        layout.read(path)


@pytest.mark.parametrize("keep", [0, 5, 60])
def test_a_torn_file_is_damaged(tmp_path: Path, keep: int) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:keep])
    with pytest.raises(DamagedFile, match=r"mine\.csv\.gz"):
        layout.read(path)


def test_a_flipped_bit_is_damage(tmp_path: Path) -> None:
    path = written(tmp_path)
    content = path.read_bytes()
    for at in range(0, len(content), 7):
        path.write_bytes(content[:at] + bytes([content[at] ^ 1]) + content[at + 1 :])
        if gzip_says_the_same(path, content):
            continue  # the time in the gzip header, which says nothing about the bars
        with pytest.raises(DamagedFile):
            layout.read(path)


def gzip_says_the_same(path: Path, content: bytes) -> bool:
    try:
        return gzip.decompress(path.read_bytes()) == gzip.decompress(content)
    except Exception:  # noqa: BLE001  any complaint of gzip's is a difference
        return False


@pytest.mark.parametrize(
    ("text", "row"),
    [("Date\n", 1), (f"{layout.HEADER}\nA,2020-01-02,1,1\n", 2), (f"{layout.HEADER}\nA,soon,1,1,1,1,1,1\n", 2)],
)
def test_a_promise_kept_over_nonsense_is_damage_with_its_row(tmp_path: Path, text: str, row: int) -> None:
    path = layout.write(tmp_path, "mine", "a test", {})
    path.write_bytes(gzip.compress(text.encode()))
    promise(path, text)
    with pytest.raises(DamagedFile) as raised:
        layout.read(path)
    assert raised.value.row == row


def test_other_row_counts_than_promised_are_damage(tmp_path: Path) -> None:
    path = written(tmp_path)
    promise(path, gzip.decompress(path.read_bytes()).decode(), rows={"A": 1, "B": 3})
    with pytest.raises(DamagedFile, match="row counts"):
        layout.read(path)


def promise(path: Path, text: str, **changed: object) -> None:
    """Rewrite the manifest of `path` so that its digest is that of `text`."""
    manifest = json.loads(layout.manifest_path(path).read_bytes())
    manifest |= {"sha256": hashlib.sha256(text.encode()).hexdigest(), **changed}
    layout.manifest_path(path).write_text(json.dumps(manifest))
