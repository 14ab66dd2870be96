"""The Dockerfile: what an image of this program should be, each rule shown to bite.

What holds for any image hadolint knows, which `test_deploy.py` asks.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent
TEXT = (ROOT / "Dockerfile").read_text()


def instructions(text: str) -> list[tuple[str, str]]:
    """Each instruction with its arguments on one line; comments are left out."""
    plain = "\n".join(line for line in text.splitlines() if not line.lstrip().startswith("#"))
    lines = re.sub(r"\\\n\s*", "", plain).splitlines()
    return [(line.split(maxsplit=1)[0].upper(), line.split(maxsplit=1)[1]) for line in lines if line.strip()]


def final(text: str) -> list[tuple[str, str]]:
    """The instructions of the last stage: what is in the image."""
    found = instructions(text)
    return found[max(at for at, (name, _) in enumerate(found) if name == "FROM") :]


def given(text: str, name: str) -> str:
    return " ".join(rest for found, rest in final(text) if found == name)


RULES: dict[str, tuple[Callable[[str], bool], tuple[str, str]]] = {
    "bases have a version": (
        lambda text: all(re.search(r":[\w.-]+", rest) for name, rest in instructions(text) if name == "FROM"),
        ("FROM python:3.11-slim\n", "FROM python\n"),
    ),
    "the wheel is installed, no source": (
        lambda text: "/dist/*.whl" in given(text, "RUN") and "quantum_trader" not in given(text, "COPY"),
        ("COPY constraints.txt /tmp/", "COPY quantum_trader quantum_trader"),
    ),
    "versions are those of the constraints": (
        lambda text: all("constraint" in rest for name, rest in instructions(text) if "pip " in rest),
        ("--constraint /tmp/constraints.txt ", ""),
    ),
    "nothing is cached": (
        lambda text: all("--no-cache-dir" in rest for name, rest in instructions(text) if "pip " in rest),
        ("pip install --no-cache-dir", "pip install"),
    ),
    "it does not run as root": (
        lambda text: given(text, "USER") not in {"", "root", "0"},
        ("USER 10001", "USER root"),
    ),
    "it says whether it is well": (
        lambda text: "CMD" in given(text, "HEALTHCHECK"),
        ("HEALTHCHECK", "LABEL"),
    ),
    "what it asks for its health is served": (
        lambda text: given(text, "CMD").split('"')[-2] in given(text, "HEALTHCHECK"),
        ('"9464"', '"9000"'),
    ),
    "runs outlive the container": (
        lambda text: "/home/trader/runs" in given(text, "VOLUME") and given(text, "WORKDIR") == "/home/trader",
        ("VOLUME", "LABEL"),
    ),
    "signals reach the program": (
        lambda text: given(text, "ENTRYPOINT").startswith("[") and given(text, "CMD").startswith("["),
        ('ENTRYPOINT ["qt"]', "ENTRYPOINT qt"),
    ),
    "what is copied is there": (
        lambda text: all(
            (ROOT / source).exists()
            for name, rest in instructions(text)
            if name == "COPY"
            for source in rest.split()[:-1]
        ),
        ("COPY config config", "COPY confg config"),
    ),
}


@pytest.mark.parametrize("rule", RULES)
def test_the_image_is_as_it_should_be(rule: str) -> None:
    assert RULES[rule][0](TEXT)


@pytest.mark.parametrize("rule", RULES)
def test_each_rule_bites(rule: str) -> None:
    holds, (good, bad) = RULES[rule]
    assert good in TEXT
    assert not holds(TEXT.replace(good, bad))


def test_everything_that_the_wheel_is_made_of_is_copied() -> None:
    packed = (ROOT / "pyproject.toml").read_text()
    copied = {source for name, rest in instructions(TEXT) if name == "COPY" for source in rest.split()[:-1]}
    assert {"pyproject.toml", "README.md", "LICENSE", "config", "eventbus", "quantum_trader"} <= copied
    assert 'config = "quantum_trader/config/shipped"' in packed


def service() -> dict[str, str]:
    """The stage of a standalone bus, each instruction with its arguments."""
    found = instructions(TEXT)
    begins = next(at for at, (name, rest) in enumerate(found) if name == "FROM" and rest.endswith(" AS service"))
    stage = found[begins + 1 :]
    ends = next(at for at, (name, _) in enumerate(stage) if name == "FROM")
    return dict(stage[:ends])


def test_the_service_is_nobody_special_and_tells_its_health_where_it_listens() -> None:
    stage = service()
    assert stage["USER"] not in {"", "root", "0"}
    assert f"http://127.0.0.1:{stage['EXPOSE']}/healthz" in stage["HEALTHCHECK"]
    assert stage["EXPOSE"] == "8765"
    assert "[gateway," in stage["RUN"]
    assert stage["WORKDIR"] in stage["VOLUME"]


def test_signals_reach_the_service() -> None:
    stage = service()
    assert stage["ENTRYPOINT"].startswith('["eventbus", "serve"')
    assert stage["CMD"].startswith("[")


def test_the_service_may_be_served_as_it_is_started(tmp_path: Path) -> None:
    from eventbus.gateway import GatewaySettings

    arguments = json.loads(service()["ENTRYPOINT"])
    settings = GatewaySettings(
        host=arguments[arguments.index("--host") + 1],
        tokens=tmp_path / arguments[arguments.index("--tokens") + 1],
        behind_proxy="--behind-proxy" in arguments,
    )
    assert settings.host == "0.0.0.0"
