"""Channels: what the configuration and the environment ask for; secrets come from variables or files and are held unprinted."""

from __future__ import annotations

from pathlib import Path

import pytest

from eventbus import InMemoryEventBus
from quantum_trader.config import Config, ConfigError, NotifyConfig, load_config
from quantum_trader.monitoring.channels import channels, notifiers
from quantum_trader.monitoring.secrets import secret

ALL = {
    "webhooks": {"ops": {}, "pager_duty": {}},
    "email": {"host": "mail.example", "sender": "a@example.org", "to": ["b@example.org"], "user": "desk"},
}
ENVIRONMENT = {
    "QT_DISCORD_WEBHOOK": "https://discord.example/very-secret",
    "QT_WEBHOOK_OPS": "https://ops.example/very-secret",
    "QT_WEBHOOK_PAGER_DUTY": "https://pager.example/very-secret",
    "QT_WEBHOOK_PAGER_DUTY_SECRET": "very-secret",
    "QT_EMAIL_PASSWORD": "very-secret",
}


def test_every_channel_that_is_set_up_is_there_and_prints_no_secret() -> None:
    found = channels(NotifyConfig.model_validate(ALL), environ=ENVIRONMENT)
    assert [one.name for one in found] == ["discord", "webhook.ops", "webhook.pager_duty", "email"]
    assert "very-secret" not in "".join(repr(vars(one)) for one in found)


def test_who_set_up_nothing_is_told_on_the_terminal() -> None:
    bus, said = InMemoryEventBus(), list[str]()
    settings = NotifyConfig()
    (printing,) = notifiers(bus, settings, channels(settings, environ={}), echo=said.append, quiet=False)
    assert printing.name == "discord"
    assert {one.name for one in bus.subscriptions} >= {"discord.health", "discord.killswitch"}


@pytest.mark.parametrize(
    ("missing", "told"),
    [
        ("QT_WEBHOOK_OPS", r"notify\.webhooks\.ops: has no address; set QT_WEBHOOK_OPS or url_file"),
        ("QT_EMAIL_PASSWORD", r"notify\.email\.user: has no password; set QT_EMAIL_PASSWORD or password_file"),
    ],
)
def test_a_channel_without_its_secret_is_refused_with_the_remedy(missing: str, told: str) -> None:
    environ = {name: value for name, value in ENVIRONMENT.items() if name != missing}
    with pytest.raises(ConfigError, match=told):
        channels(NotifyConfig.model_validate(ALL), environ=environ)


def test_a_secret_comes_from_the_variable_then_from_the_file_it_names_then_from_that_of_the_configuration(
    tmp_path: Path,
) -> None:
    (tmp_path / "named").write_text("from the named file\n")
    (tmp_path / "set").write_text("from the file of the configuration\n")
    file, named = str(tmp_path / "set"), str(tmp_path / "named")

    def found(environ: dict[str, str]) -> str | None:
        one = secret("QT_X", file, environ=environ)
        return None if one is None else one.get_secret_value()

    assert found({"QT_X": "from the variable", "QT_X_FILE": named}) == "from the variable"
    assert found({"QT_X_FILE": named}) == "from the named file"
    assert found({}) == "from the file of the configuration"
    assert secret("QT_X", environ={}) is None


@pytest.mark.parametrize("content", [None, b"", b"\xff\xfe"])
def test_a_file_that_holds_no_secret_is_named_and_not_shown(tmp_path: Path, content: bytes | None) -> None:
    file = tmp_path / "secret"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(ConfigError, match="QT_X") as told:
        secret("QT_X", str(file), environ={})
    assert str(file) in str(told.value)


@pytest.mark.parametrize(
    ("variable", "told"),
    [
        (
            "QT_NOTIFY__WEBHOOKS__OPS__URL",
            "notify.webhooks.ops.url: unknown key; known are url_file, secret_file, body",
        ),
        ("QT_NOTIFY__EMAIL__PASSWORD", "notify.email.password: unknown key; known are host, port, tls"),
        ("QT_NOTIFY__DISCORD__WEBHOOK", "notify.discord.webhook: unknown key; known are webhook_file"),
    ],
)
def test_a_secret_written_into_the_configuration_is_an_unknown_key(variable: str, told: str) -> None:
    with pytest.raises(ConfigError) as refused:
        load_config(environ={variable: '"very-secret"'})
    assert told in str(refused.value)
    assert "very-secret" not in str(refused.value)


def test_who_is_told_changes_nothing_of_a_run() -> None:
    told = Config(notify=NotifyConfig.model_validate(ALL))
    assert told.sha256() == Config().sha256()
    assert Config(notify=NotifyConfig(attempts=9)).sha256() != Config().sha256()
