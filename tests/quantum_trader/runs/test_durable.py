"""A run lives in its folder, whatever the folder is called."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from quantum_trader.app import load_feed
from quantum_trader.config import Config, load_config
from quantum_trader.runs.durable import DurableRun
from quantum_trader.runs.folder import RunFolder


@pytest.fixture(scope="module")
def config() -> Config:
    overrides: dict[str, dict[str, Any]] = {"universe": {"symbols": ("IBM",), "end": "2000-07-31"}}
    return load_config(environ={}, overrides=overrides)


@pytest.mark.parametrize("name", ["run #1?", "100%25"])
async def test_the_journal_of_a_run_is_in_its_folder_whatever_that_is_called(
    tmp_path: Path, config: Config, name: str
) -> None:
    folder = RunFolder(tmp_path / name)
    folder.begin(config)
    async with DurableRun(folder, config, load_feed(config)) as run:
        await run.run(until_session=3)
        assert {"ledger.trade", "executor.approved", "risk_guard.sized"} <= run.deciding
        assert "analytics.event" not in run.deciding
    assert folder.journal.exists()
    assert [each.name for each in tmp_path.iterdir()] == [name]
