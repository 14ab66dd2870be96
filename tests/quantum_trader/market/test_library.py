from __future__ import annotations

from pathlib import Path

import pytest

from quantum_trader.market import layout
from quantum_trader.market.dataset import SHIPPED
from quantum_trader.market.errors import MissingFile
from quantum_trader.market.library import available, find


def test_the_demo_bars_are_always_there(tmp_path: Path) -> None:
    assert available(tmp_path / "not yet made") == {"demo": SHIPPED}
    assert find("demo", tmp_path) == SHIPPED


def test_imported_sets_are_listed_by_name(tmp_path: Path) -> None:
    for name in ("zinc", "copper"):
        layout.write(tmp_path, name, "a test", {})
    (tmp_path / ".draft.csv.gz").touch()
    (tmp_path / "notes.csv").touch()
    assert list(available(tmp_path)) == ["copper", "demo", "zinc"]
    assert find("zinc", tmp_path) == tmp_path / "zinc.csv.gz"


def test_a_file_called_demo_does_not_hide_the_shipped_one(tmp_path: Path) -> None:
    layout.write(tmp_path, "demo", "a test", {})
    assert find("demo", tmp_path) == SHIPPED


def test_an_unknown_name_is_told_the_known_ones(tmp_path: Path) -> None:
    layout.write(tmp_path, "zinc", "a test", {})
    with pytest.raises(MissingFile, match="no data set 'tin'; known are demo, zinc"):
        find("tin", tmp_path)
