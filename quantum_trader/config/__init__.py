"""Config: every number a person may change, typed, documented where it lives, and refused when misspelt.

Read from `config/*.toml`, one file per section, then a profile over them, then the environment
(`QT_<SECTION>__<KEY>=value`). Without any file the defaults here apply: they are those of the shipped files.
"""

from __future__ import annotations

from quantum_trader.config.notify import DiscordConfig, EmailConfig, NotifyConfig, WebhookConfig
from quantum_trader.config.own import OwnConfig
from quantum_trader.config.reading import (
    ENV_DIRECTORY,
    ENV_PREFIX,
    ConfigError,
    config_directory,
    load_config,
    profiles,
)
from quantum_trader.config.section import Section
from quantum_trader.config.sections import (
    AppConfig,
    ChartConfig,
    Config,
    Costs,
    DelistingConfig,
    ExecutionConfig,
    GatesConfig,
    HealthConfig,
    ModeConfig,
    ModelGateConfig,
    ModelsConfig,
    PolicyConfig,
    RankerConfig,
    RiskConfig,
    SeedConfig,
    SizingConfig,
    SpcConfig,
    StrategiesConfig,
    ThresholdsConfig,
    UniverseConfig,
)

__all__ = [
    # reading
    "ENV_DIRECTORY",
    "ENV_PREFIX",
    "ConfigError",
    "config_directory",
    "load_config",
    "profiles",
    # sections
    "Section",
    "AppConfig",
    "UniverseConfig",
    "Costs",
    "DelistingConfig",
    "ExecutionConfig",
    "ModeConfig",
    "ThresholdsConfig",
    "PolicyConfig",
    "RiskConfig",
    "SizingConfig",
    "SeedConfig",
    "GatesConfig",
    "StrategiesConfig",
    "ModelGateConfig",
    "ModelsConfig",
    "RankerConfig",
    "ChartConfig",
    "SpcConfig",
    "HealthConfig",
    "DiscordConfig",
    "WebhookConfig",
    "EmailConfig",
    "NotifyConfig",
    "OwnConfig",
    "Config",
]
