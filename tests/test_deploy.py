"""What is deployed: Dockerfile, compose and Kubernetes files pass the linters of their kind, and say what the programs know.

The linters come as packages. That a command, a path, a port, a user or a probe is right none of them can tell.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml

import eventbus.cli
import quantum_trader.cli
from eventbus.gateway import http
from tests.docs.blocks import look_up
from tests.test_dockerfile import TEXT, final, service

ROOT = Path(__file__).parent.parent
DEPLOY = ROOT / "config" / "deploy"
COMPOSE, KUBERNETES = DEPLOY / "compose.yml", DEPLOY / "kubernetes.yml"
SERVICES: dict[str, Any] = yaml.safe_load(COMPOSE.read_text())["services"]
OBJECTS: list[dict[str, Any]] = list(yaml.safe_load_all(KUBERNETES.read_text()))
YAML = sorted((ROOT / "config").rglob("*.yml"))
STYLE = (
    "{extends: default, rules: {line-length: {max: 140}, document-start: disable, comments: {min-spaces-from-content: 1},"
    " truthy: {check-keys: false}}}"
)
IMAGES: dict[str, dict[str, str]] = {"eventbus": service(), "quantum-trader": dict(final(TEXT))}
PROGRAMS: dict[str, Any] = {"eventbus": eventbus.cli.app, "qt": quantum_trader.cli.app}


def linted(program: str, *arguments: str | Path) -> str:
    """What a linter complains of; nothing where all is well."""
    done = subprocess.run(
        [Path(sys.executable).with_name(program), *arguments], capture_output=True, text=True, check=False
    )
    return "" if done.returncode == 0 else done.stdout + done.stderr


def kubernetes(file: Path) -> str:
    return linted("kubernetes-validate", "--strict", "--quiet", file)


def compose(file: Path) -> str:
    return linted("check-jsonschema", "--builtin-schema", "vendor.compose-spec", file)


def dockerfile(file: Path) -> str:
    return linted("hadolint", "--failure-threshold", "style", file)


def style(file: Path) -> str:
    return linted("yamllint", "--strict", "--config-data", STYLE, file)


LINTERS: dict[str, tuple[Callable[[Path], str], Path, tuple[str, str]]] = {
    "kubernetes": (kubernetes, KUBERNETES, ("readOnlyRootFilesystem", "readOnlyRootFileSystem")),
    "compose": (compose, COMPOSE, ("restart: unless-stopped", "restarts: unless-stopped")),
    "dockerfile": (dockerfile, ROOT / "Dockerfile", ("WORKDIR /home/trader", "WORKDIR home/trader")),
    "style": (style, COMPOSE, ("name: quantum-trader\n", "name: quantum-trader\nname: other\n")),
}


@pytest.mark.parametrize("kind", LINTERS)
def test_a_linter_finds_nothing_and_would_find_something(kind: str, tmp_path: Path) -> None:
    lint, file, (good, bad) = LINTERS[kind]
    assert lint(file) == ""
    assert good in file.read_text()
    broken = tmp_path / file.name
    broken.write_text(file.read_text().replace(good, bad))
    assert lint(broken) != ""


def test_every_yaml_file_is_written_well() -> None:
    assert linted("yamllint", "--strict", "--config-data", STYLE, *YAML) == ""


# --- what no linter knows -------------------------------------------------------------------------------------------


def containers() -> Iterator[tuple[str, str, list[str], dict[str, Any]]]:
    """Name, image, arguments and the whole of every container that runs a program of ours."""
    for name, one in SERVICES.items():
        if "build" in one:
            yield f"compose {name}", one["image"], [str(word) for word in one["command"]], one
    for thing in OBJECTS:
        pod = thing.get("spec", {}).get("template", {}).get("spec", {})
        for one in pod.get("containers", ()):
            yield f"{thing['kind']} {thing['metadata']['name']}", one["image"].partition(":")[0], one["args"], one


CONTAINERS = {name: (image, arguments, one) for name, image, arguments, one in containers()}


def understood(words: list[str]) -> dict[str, Any]:
    """What the program makes of a command line. Raises what it would say of a wrong one."""
    group = typer.main.get_command(PROGRAMS[words[0]])
    assert hasattr(group, "resolve_command")
    context = group.make_context(words[0], words[1:], resilient_parsing=True)
    name, command, rest = group.resolve_command(context, words[1:])
    assert command is not None, f"there is no command {words[1]}"
    return dict(command.make_context(name, rest, parent=context).params)


@pytest.mark.parametrize("name", CONTAINERS)
def test_a_container_is_started_with_a_command_that_the_program_knows(name: str) -> None:
    image, arguments, _one = CONTAINERS[name]
    params = understood([*json.loads(IMAGES[image]["ENTRYPOINT"]), *arguments])
    if image == "eventbus":
        assert params["host"] == "0.0.0.0"
        assert str(params["tokens_file"]) == "tokens.json"
        assert str(params["port"]) == IMAGES[image]["EXPOSE"]
    else:
        assert (params["metrics_port"], params["metrics_host"]) == (9464, "0.0.0.0")


def test_a_command_that_is_wrong_is_seen() -> None:
    with pytest.raises(Exception, match="No such option"):
        understood(["qt", "demo", "--metric-port", "9464"])
    with pytest.raises(Exception, match="there is no command dance"):
        understood(["qt", "dance"])


def mounts(one: dict[str, Any]) -> list[str]:
    listed = one.get("volumeMounts")
    if listed is not None:
        return [str(mount["mountPath"]) for mount in listed]
    return [*(str(volume).split(":")[1] for volume in one["volumes"]), *one.get("tmpfs", [])]


@pytest.mark.parametrize("name", CONTAINERS)
def test_what_a_program_writes_is_mounted_where_the_image_has_it(name: str) -> None:
    image, _arguments, one = CONTAINERS[name]
    known = {*json.loads(IMAGES[image]["VOLUME"]), "/tmp"}
    assert {*mounts(one)} <= known
    assert "/tmp" in mounts(one), "nothing else can be written"
    assert one.get("read_only") or one["securityContext"]["readOnlyRootFilesystem"]


def test_pods_are_who_the_image_is_and_are_asked_what_is_answered() -> None:
    routes = {getattr(route, "path", "") for route in http.health.routes}
    for thing in OBJECTS:
        pod = thing.get("spec", {}).get("template", {}).get("spec")
        if pod is None:
            continue
        (one,) = pod["containers"]
        image = IMAGES[one["image"].partition(":")[0]]
        assert str(pod["securityContext"]["runAsUser"]) == image["USER"]
        (port,) = one["ports"]
        assert str(port["containerPort"]) in image["HEALTHCHECK"]
        probes = [one[probe]["httpGet"] for probe in one if probe.endswith("Probe")]
        assert probes
        for probe in probes:
            assert probe["port"] == port["name"]
            assert probe["path"] in (routes if "EXPOSE" in image else {"/metrics"})


def test_a_pod_has_longer_than_its_bus_needs_to_drain() -> None:
    (deployment,) = [thing for thing in OBJECTS if thing["kind"] == "Deployment"]
    pod = deployment["spec"]["template"]["spec"]
    (drain,) = [word for word in pod["containers"][0]["args"] if word.startswith("--drain-timeout=")]
    assert pod["terminationGracePeriodSeconds"] > float(drain.partition("=")[2])


def test_what_is_mounted_from_the_repository_is_there() -> None:
    for one in SERVICES.values():
        for volume in one["volumes"]:
            source = volume.split(":")[0]
            if source.startswith(".") and source != "./metrics.token":  # made by the command on top of the file
                assert (DEPLOY / source).exists(), source


def test_who_is_watched_is_who_is_started_where_it_listens() -> None:
    scraped = yaml.safe_load((ROOT / "config/observability/prometheus.yml").read_text())["scrape_configs"]
    targets = [target for job in scraped for one in job["static_configs"] for target in one["targets"]]
    assert sorted(targets) == ["app:9464", "bus:8765"]
    assert "--allow-origin=http://bus:8765" in SERVICES["bus"]["command"], (
        "else the gateway does not know the name that it is asked by"
    )
    place = yaml.safe_load((ROOT / "config/observability/grafana/provisioning/dashboards/eventbus.yml").read_text())
    folder = place["providers"][0]["options"]["path"]
    assert any(f":{folder}/eventbus.json:" in volume for volume in SERVICES["grafana"]["volumes"])


@pytest.mark.parametrize("file", [COMPOSE, KUBERNETES], ids=lambda file: file.name)
def test_the_commands_on_top_of_a_file_are_there(file: Path) -> None:
    head = file.read_text().partition("\nname:" if file is COMPOSE else "\napiVersion:")[0]
    text = re.sub(r"^# ?", "", head, flags=re.MULTILINE).replace("\\\n", " ")
    commands = [line.strip() for line in text.splitlines() if re.match(r"\s+(docker|eventbus|kubectl) ", line)]
    assert len(commands) > 1
    for command in commands:
        look_up(re.sub(r"^.*--entrypoint eventbus bus", "eventbus", command).partition(" > ")[0])
