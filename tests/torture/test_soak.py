"""The soak soaks: a short one drains, loses nothing and says what the process held."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

SOAK = Path(__file__).with_name("soak.py")


@pytest.mark.long
def test_a_short_soak_loses_nothing(tmp_path: Path) -> None:
    out = tmp_path / "soak.csv"
    run = [sys.executable, str(SOAK), "--minutes", "0.1", "--fault-every", "2", "--out", str(out)]
    done = subprocess.run(run, capture_output=True, text=True, timeout=240, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-2_000:]
    assert "not conserved: none" in done.stdout
    header, *lines = out.read_text().splitlines()
    assert header.split(",")[:5] == ["seconds", "rss_mib", "tasks", "threads", "descriptors"]
    assert len(lines) >= 10
