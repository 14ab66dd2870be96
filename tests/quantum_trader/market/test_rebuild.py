from __future__ import annotations

import importlib.metadata
from pathlib import Path

import pytest

from quantum_trader.market import dataset, layout, rebuild


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The shipped file as the command sees it: one in an empty directory."""
    path = tmp_path / "package" / "demo.csv.gz"
    monkeypatch.setattr(rebuild, "SHIPPED", path)
    return path


def test_the_shipped_text_is_the_pinned_one() -> None:
    manifest, _ = layout.read(dataset.SHIPPED)
    assert manifest.sha256 == rebuild.TEXT_SHA256


def test_a_rebuild_gives_the_shipped_bars(tmp_path: Path) -> None:
    made = rebuild.rebuild(tmp_path)
    # Compressed bytes are those of the zlib that wrote them; what is inside is the same everywhere.
    assert layout.read(made) == layout.read(dataset.SHIPPED)


def test_check_says_what_differs(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rebuild.main(["--check"]) == 1
    assert capsys.readouterr().out == "different: demo.csv.gz, demo.json\n"
    assert not elsewhere.exists()


def test_what_was_just_written_passes_the_check(elsewhere: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert rebuild.main([]) == 0
    assert rebuild.main(["--check"]) == 0
    assert capsys.readouterr().out == f"wrote {elsewhere}\nthe shipped files are what a rebuild gives\n"


def test_another_release_is_refused(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(importlib.metadata, "version", lambda _: "2025.0")
    assert rebuild.main([]) == 3
    assert "is 2025.0, not 2026.1; pip install 'quantum-trader[demo]'" in capsys.readouterr().err
    assert not elsewhere.exists()


def test_an_absent_package_is_named(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rebuild, "PACKAGE", "no_such_package")
    assert rebuild.main([]) == 3
    assert "package no_such_package is not installed; pip install" in capsys.readouterr().err


def test_other_bars_are_not_written(
    elsewhere: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(rebuild, "SYMBOLS", ("AAPL", "FB"))
    assert rebuild.main([]) == 3
    assert "holds other bars" in capsys.readouterr().err
    assert not elsewhere.exists()
