"""Configuration: files, profile, environment, in that order; what is misspelt is refused with its place."""

from __future__ import annotations

from decimal import Decimal
from pathlib import Path

import pytest
from pydantic import BaseModel

from quantum_trader.config import Config, ConfigError, load_config, profiles
from quantum_trader.instruments import Instrument
from quantum_trader.model import RiskMode

SHIPPED = Path(__file__).parents[2] / "config"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "profiles").mkdir()
    return tmp_path


def test_shipped_files_say_what_the_code_defaults_to() -> None:
    assert load_config(SHIPPED, environ={}) == Config()


def test_every_section_has_its_file_and_every_key_its_line() -> None:
    for name, field in Config.model_fields.items():
        text = (SHIPPED / f"{name}.toml").read_text()
        section = Instrument if name == "instruments" else field.annotation
        assert isinstance(section, type)
        assert issubclass(section, BaseModel)
        for key in section.model_fields:
            assert key in text, f"{name}.toml does not mention {key}"


@pytest.mark.parametrize("profile", ["demo", "fast", "oracle"])
def test_shipped_profiles_can_be_read(profile: str) -> None:
    assert profile in profiles(SHIPPED)
    assert isinstance(load_config(SHIPPED, profile, environ={}), Config)


def test_profile_wins_over_file_and_environment_over_both(folder: Path) -> None:
    (folder / "execution.toml").write_text('fee_rate = "0.002"\nimpact_bp = 1.0\nhalf_spread_bp = 1.0\n')
    (folder / "profiles" / "p.toml").write_text("[execution]\nimpact_bp = 2.0\nhalf_spread_bp = 2.0\n")
    environ = {"QT_EXECUTION__HALF_SPREAD_BP": "3.0", "QT_POLICY__FIXED_MODE": "NORMAL", "OTHER__X": "1"}
    config = load_config(folder, "p", environ=environ)
    execution = config.execution
    assert (execution.fee_rate, execution.impact_bp, execution.half_spread_bp) == (Decimal("0.002"), 2.0, 3.0)
    assert config.policy.fixed_mode is RiskMode.NORMAL


def test_unknown_key_names_file_key_and_those_known(folder: Path) -> None:
    (folder / "execution.toml").write_text("fee_rat = 0.1\n")
    with pytest.raises(
        ConfigError, match=r"execution\.toml: execution\.fee_rat: unknown key; known are fee_rate, min_fee"
    ):
        load_config(folder, environ={})


def test_an_unknown_key_of_an_instrument_names_those_it_has(folder: Path) -> None:
    (folder / "instruments.toml").write_text('["BTC/*"]\nlots = 1\n')
    with pytest.raises(
        ConfigError, match=r"instruments\.BTC/\*\.lots: unknown key; known are lot, tick, quantity_digits"
    ):
        load_config(folder, environ={})


def test_unknown_key_in_a_table_names_those_of_the_table(folder: Path) -> None:
    (folder / "profiles" / "p.toml").write_text("[policy.thresholds]\ndwel = 3\n")
    with pytest.raises(ConfigError, match=r"profile p: policy\.thresholds\.dwel: unknown key; known are .*dwell"):
        load_config(folder, "p", environ={})


def test_wrong_value_names_its_place(folder: Path) -> None:
    with pytest.raises(ConfigError, match=r"environment: execution\.participation: .*less than or equal to 1.*got 2"):
        load_config(folder, environ={"QT_EXECUTION__PARTICIPATION": "2"})


def test_what_is_no_toml_names_the_file_and_the_line(folder: Path) -> None:
    (folder / "risk.toml").write_text("max_drawdown = = 1\n")
    with pytest.raises(ConfigError, match=r"risk\.toml: not TOML \(.*line 1"):
        load_config(folder, environ={})


def test_unknown_file_and_unknown_profile_name_those_known(folder: Path) -> None:
    with pytest.raises(ConfigError, match="no such profile"):
        load_config(folder, "nope", environ={})
    (folder / "execuion.toml").write_text("")
    with pytest.raises(ConfigError, match="no section of that name; known are app"):
        load_config(folder, environ={})


@pytest.mark.parametrize("profile", ["../app", "/etc/passwd", "a/../../app"])
def test_profile_cannot_leave_its_folder(folder: Path, profile: str) -> None:
    (folder / "app.toml").write_text("seed = 3\n")
    with pytest.raises(ConfigError, match="no such profile"):
        load_config(folder, profile, environ={})


def test_equal_configurations_have_one_digest() -> None:
    assert Config().sha256() == load_config(SHIPPED, environ={}).sha256()
    assert Config().sha256() != load_config(SHIPPED, "oracle", environ={}).sha256()
