"""`qt kill`, `qt ack`, `qt policy`: what a person commands a run to do, and what there is to see before."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated, Any, Final

import typer

from eventbus import CodecError, Event
from quantum_trader.cli.choosing import AsJson, Run, chosen, unfinished
from quantum_trader.cli.faults import Failed
from quantum_trader.cli.looking import dates_of, told_when
from quantum_trader.cli.saying import emit, say
from quantum_trader.cli.settings import ConfigDirectory
from quantum_trader.config import ConfigError
from quantum_trader.control.kill_switch import Held, SwitchFile
from quantum_trader.events import AcknowledgeRequestedEvent, KillSwitchRequestedEvent, PolicyOverrideRequestedEvent
from quantum_trader.learning.registry_reads import POLICY, registry_view
from quantum_trader.model import KillMode, RiskMode
from quantum_trader.monitoring.archive import Archive
from quantum_trader.runs.folder import RunFolder
from quantum_trader.runs.inbox import OPERATOR, Inbox

policy_app = typer.Typer(help="The policy of a run: what it allows, and why.", no_args_is_help=True)

ME: Final = os.environ.get("USER", "").encode(errors="replace").decode() or OPERATOR

_OFF: Final = Held(KillMode.OFF, latched=False, actor="nobody", reason="never used")

Reason = Annotated[str, typer.Option(help="Why; it is kept with the run.")]
User = Annotated[str, typer.Option(help="Who.")]


class KillCommand(StrEnum):
    """What `qt kill` can do."""

    HALT = "halt"
    REDUCE_ONLY = "reduce-only"
    OFF = "off"
    SHOW = "show"


_MODES: Final = {
    KillCommand.HALT: KillMode.HALT,
    KillCommand.REDUCE_ONLY: KillMode.REDUCE_ONLY,
    KillCommand.OFF: KillMode.OFF,
}


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `qt`."""
    app.command()(kill)
    app.command()(ack)
    app.add_typer(policy_app, name="policy")


def kill(
    command: Annotated[KillCommand, typer.Argument(help="What the run may still do: nothing, only reduce, anything.")],
    reason: Annotated[str | None, typer.Option(help="Why; it is kept with the run.")] = None,
    user: User = ME,
    run: Run = None,
    config: ConfigDirectory = None,
) -> None:
    """Stop trading in a run, or allow it again. What is stopped stays stopped over a restart."""
    if command is KillCommand.SHOW:
        folder = chosen(run, config)
        held = SwitchFile(folder.kill_switch).load() or _OFF
        latched = ", latched" if held.latched else ""
        say(f"{folder.path}: {held.mode.value}{latched}, by {held.actor}: {held.reason}")
        return
    if not reason:
        raise ConfigError("command line", "--reason", "is missing", remedy="say why, it is kept with the run")
    mode = _MODES[command]
    # A person's word: it holds until a person says otherwise, and only a person's word lifts a latch.
    asked = KillSwitchRequestedEvent(
        mode=mode, reason=reason, actor=user, latch=mode is not KillMode.OFF, force=True, source=OPERATOR
    )
    ask(unfinished(run, config), asked, f"kill switch to {mode.value}")


def ack(
    violation: Annotated[str, typer.Argument(help="Id of the violation, as qt spc lists it.")],
    reason: Reason,
    user: User = ME,
    exclude: Annotated[bool, typer.Option("--exclude", help="Leave its points out of the next baseline.")] = False,
    run: Run = None,
    config: ConfigDirectory = None,
) -> None:
    """Acknowledge a violation on a control chart: it has been seen, and counts no more."""
    folder = chosen(run, config)
    found = {one.violation_id: one for one in Archive(folder.path).violations()}
    if violation not in found:
        raise Failed(
            f"violation {violation}: there is none of that id in {folder.path}; see qt spc --run {folder.path}"
        )
    asked = (event for event in Inbox(folder.commands).waiting() if isinstance(event, AcknowledgeRequestedEvent))
    if found[violation].acknowledged_by or any(event.violation_id == violation for event in asked):
        raise Failed(f"violation {violation}: it is acknowledged already; see qt spc --run {folder.path}")
    if folder.is_complete:
        raise Failed(
            f"violation {violation}: {folder.path} is complete and listens no more; acknowledge while it runs or is stopped"
        )
    event = AcknowledgeRequestedEvent(
        violation_id=violation, user=user, reason=reason, exclude_samples=exclude, source=OPERATOR
    )
    ask(folder, event, f"violation {violation} acknowledged")


@policy_app.command("show")
def show(run: Run = None, as_json: AsJson = False, config: ConfigDirectory = None) -> None:
    """The policy in force, and what it was made of."""
    folder = chosen(run, config)
    with registry_view(folder.registry) as registry:
        policies = registry.history(POLICY, "policy")
    if not policies:
        raise Failed(f"{folder.path}: no policy yet; let the run begin")
    payload = policies[-1].payload
    if as_json:
        emit(payload)
        return
    for key, value in payload.items():
        say(f"{key:<22}{_words(value)}")


@policy_app.command("history")
def history(run: Run = None, as_json: AsJson = False, config: ConfigDirectory = None) -> None:
    """Every policy there was, oldest first."""
    folder = chosen(run, config)
    with registry_view(folder.registry) as registry:
        payloads = [entry.payload for entry in registry.history(POLICY, "policy")]
    if as_json:
        emit(payloads)
        return
    dates = dates_of(folder)
    for payload in payloads:
        allowed = len(payload["allowed_strategies"])
        head = f"{payload['version']:>4}  {told_when(payload['session'], dates)}  {payload['risk_mode']:<10}"
        say(f"{head}  {allowed:>2} allowed  {_words(payload['reasons'])}")


@policy_app.command("set")
def set_(
    mode: Annotated[RiskMode, typer.Argument(help="Risk mode.", case_sensitive=False)],
    reason: Reason,
    user: User = ME,
    force: Annotated[bool, typer.Option("--force", help="Even if it is less defensive than the policy.")] = False,
    run: Run = None,
    config: ConfigDirectory = None,
) -> None:
    """Ask a run for a risk mode, for a while; without --force it can only be made more defensive."""
    asked = PolicyOverrideRequestedEvent(risk_mode=mode, reason=reason, actor=user, force=force, source=OPERATOR)
    ask(unfinished(run, config), asked, f"risk mode to {mode.value}")


def ask(folder: RunFolder, command: Event, what: str) -> None:
    """Leave a command in the inbox of a run, and say so."""
    try:
        Inbox(folder.commands).put(command)
    except CodecError as cause:
        raise ConfigError("command line", what, f"cannot be kept ({cause})", remedy="give plain text") from cause
    except OSError as cause:
        raise ConfigError(
            str(folder.commands), "", f"cannot be written ({cause.strerror})", remedy="check the folder of the run"
        ) from cause
    say(f"{folder.path}: {what} before its next session")


def _words(value: Any) -> str:
    return ", ".join(map(str, value)) or "none" if isinstance(value, list) else str(value)
