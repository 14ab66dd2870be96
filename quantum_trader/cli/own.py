"""`qt run`: a strategy of a user's own through the whole system, as the shipped ones are run."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from quantum_trader.alpha.families import SHIPPED
from quantum_trader.app import check, load_feed
from quantum_trader.brought import own_strategy, paper_feed
from quantum_trader.cli.carrying import LOOPBACK, Manner, carry_out, unwritable
from quantum_trader.cli.runs import (
    AlignOption,
    AsJson,
    Checks,
    Choices,
    Components,
    From,
    MetricsHost,
    MetricsPort,
    Name,
    Notify,
    Output,
    Seed,
    Speed,
    Strict,
    Symbols,
    To,
    Until,
)
from quantum_trader.cli.saying import say
from quantum_trader.cli.settings import ConfigDirectory, Profile
from quantum_trader.cli.showing import (
    AllowOrigin,
    BehindProxy,
    Door,
    Host,
    Port,
    TlsCert,
    TlsKey,
    Tokens,
    Web,
    shown_at,
)
from quantum_trader.config import Config, ConfigError, RiskConfig, load_config
from quantum_trader.config.reading import read_toml
from quantum_trader.own.loading import made, settled, source_sha256, strategy_class
from quantum_trader.own.strategy import Strategy
from quantum_trader.runs.folder import RunFolder, free_folder

OWN: Final = "own"  # the profile that a strategy of a user's own runs under

File = Annotated[str, typer.Argument(help="A strategy: dip.py, dip.py:Dip, or module:Class.", show_default=False)]
Set = Annotated[list[str] | None, typer.Option("--set", help="A parameter, as depth=0.05; may be repeated.")]
Gated = Annotated[bool, typer.Option("--gated", help="Through the lifecycle, instead of LIVE by your word.")]
Limits = Annotated[
    Path | None, typer.Option(help="A TOML file of risk limits, as config/risk.toml; else they are open.")
]
Ranker = Annotated[bool, typer.Option("--ranker", help="Let the ranker choose what may be bought.")]
PolicyChoice = Annotated[str, typer.Option("--policy", help="open, or auto: the policy chooses the risk mode.")]

_SIZED_BELOW: Final = 0.96  # of the guard's limit: what is sized at a close is judged with costs


@dataclass(frozen=True, slots=True)
class Brought:
    """What the command line says about a run of a user's own."""

    strategy: str
    settings: dict[str, str]
    gated: bool = False
    limits: Path | None = None
    ranker: bool = False
    policy: str = "open"

    def load(self, choices: Choices) -> Config:
        """The configuration of the run. Raises `ConfigError`, `OwnCodeError`."""
        if self.policy not in {"open", "auto"}:
            raise ConfigError("command line", "--policy", f"{self.policy!r} is unknown", remedy="give open or auto")
        cls = strategy_class(self.strategy)
        strategy = made(cls, self.settings)
        reference = settled(self.strategy)
        name = strategy_id(cls)
        own = {
            "strategy": reference if ":" in Path(reference).name else f"{reference}:{cls.__name__}",
            "strategy_id": name,
            "sha256": source_sha256(self.strategy),
            "params": plain_settings(strategy),
            "gated": self.gated,
        }
        overrides = choices.overrides()
        seeds = {"seeds": ({"family": name, "params": ()},)}
        overrides |= {"own": overrides.get("own", {}) | own, "strategies": overrides.get("strategies", {}) | seeds}
        if self.gated:
            overrides["strategies"] |= {"breed_most": 0}
        if self.policy == "auto":
            usual = load_config(choices.config).policy
            overrides["policy"] = {"fixed_mode": None, "normal": usual.normal.model_dump()}
        if self.ranker:
            overrides["ranker"] = {"enabled": True}
        if self.limits is not None:
            overrides |= limited(self.limits)
        return load_config(choices.config, choices.profile or (None if self.gated else OWN), overrides=overrides)


def limited(file: Path) -> dict[str, dict[str, Any]]:
    """The limits of a file, and sizes below them: an order is cut to fit, not sent to be denied."""
    limits = read_toml(file)
    usual = {name: field.default for name, field in RiskConfig.model_fields.items()}
    if unknown := [name for name in limits if name not in usual]:
        raise ConfigError(str(file), unknown[0], "unknown key", remedy=f"known are {', '.join(usual)}")
    sizes = {
        "max_order_weight": limits.get("max_order_notional", 1.0),
        "max_symbol_weight": limits.get("max_symbol_weight", 1.0),
    }
    return {
        "risk": limits,
        "sizing": {name: value * _SIZED_BELOW if value < 1.0 else 1.0 for name, value in sizes.items()},
    }


def strategy_id(cls: type[Strategy]) -> str:
    """What the orders of a strategy are called by: its class, in small letters, and no name of a shipped family."""
    name = re.sub(r"[^a-z0-9]+", "_", cls.__name__.lower()).strip("_") or "strategy"
    return f"own_{name}" if name in SHIPPED else name


def plain_settings(strategy: Strategy) -> dict[str, Any]:
    """The parameters as the configuration keeps them; text for what JSON does not have."""
    return {
        name: value if isinstance(value, bool | int | float | str) else str(value)
        for name, value in strategy.settings().items()
    }


def pairs(settings: list[str] | None) -> dict[str, str]:
    """What `--set` gave. Raises `ConfigError`."""
    found = {}
    for setting in settings or ():
        name, equals, value = setting.partition("=")
        if not equals or not name:
            raise ConfigError("command line", "--set", f"{setting!r} sets nothing", remedy="write name=value")
        found[name.strip()] = value.strip()
    return found


def with_room(config: Config, symbols: tuple[str, ...]) -> Config:
    """Twice as many orders a session as there are symbols: every position may be turned round in one."""
    if config.own.gated:
        return config
    most = 2 * len(symbols)
    rates = {"max_orders_per_session": most, "max_exits_per_session": max(most, config.risk.max_exits_per_session)}
    return config.model_copy(update={"risk": config.risk.model_copy(update=rates)})


def register(app: typer.Typer) -> None:
    """Add the commands of this module to `qt`."""
    app.command()(run)
    app.command()(paper)


def run(
    file: File,
    data: Name = None,
    set_: Set = None,
    gated: Gated = False,
    limits: Limits = None,
    ranker: Ranker = False,
    policy: PolicyChoice = "open",
    checks: Checks = None,
    components: Components = None,
    symbols: Symbols = None,
    start: From = None,
    end: To = None,
    seed: Seed = None,
    align: AlignOption = None,
    speed: Speed = 0.0,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = LOOPBACK,
    profile: Profile = None,
    config: ConfigDirectory = None,
    output: Output = None,
    notify: Notify = False,
    as_json: AsJson = False,
    until_session: Until = None,
    strict: Strict = False,
) -> None:
    """Run a strategy of your own over a data set, live by your word; then report."""
    brought = Brought(file, pairs(set_), gated, limits, ranker, policy)
    choices = Choices(profile, config, data, symbols, start, end, seed, align, checks, components)
    effective = brought.load(choices)
    own_strategy(effective.own)  # a family must be known before the seeds are looked at
    check(effective)
    feed = load_feed(effective)
    if limits is None:
        effective = with_room(effective, feed.symbols)
    folder = begun(effective, output)
    if not as_json:
        say(_told(effective))
    manner = Manner(speed, metrics_port, metrics_host, notify, as_json, until_session, strict)
    carry_out(folder, effective, feed, manner)


def paper(
    file: File,
    feed: Annotated[str, typer.Option(help="file:PATH[@SPEED], tail:PATH, ws://HOST/PATH, or module:callable.")],
    symbols: Symbols = None,
    interval: Annotated[int, typer.Option(help="Seconds between two bars; 0 is what the feed says.", min=0)] = 0,
    grace: Annotated[float, typer.Option(help="Seconds that a session waits for other symbols.", min=0.001)] = 5.0,
    set_: Set = None,
    limits: Limits = None,
    ranker: Ranker = False,
    policy: PolicyChoice = "open",
    checks: Checks = None,
    components: Components = None,
    seed: Seed = None,
    metrics_port: MetricsPort = None,
    metrics_host: MetricsHost = LOOPBACK,
    profile: Profile = None,
    config: ConfigDirectory = None,
    output: Output = None,
    notify: Notify = False,
    as_json: AsJson = False,
    venue: Annotated[
        str | None,
        typer.Option(help="Send the orders to a venue of your own, module:connect; with --live and --limits."),
    ] = None,
    live: Annotated[
        bool, typer.Option("--live", help="You mean it: what goes to --venue may move real money.")
    ] = False,
    web: Web = None,
    host: Host = None,
    port: Port = None,
    allow_origin: AllowOrigin = None,
    tokens: Tokens = None,
    behind_proxy: BehindProxy = False,
    tls_cert: TlsCert = None,
    tls_key: TlsKey = None,
) -> None:
    """Paper-trade a strategy of your own on a live feed, until Ctrl-C; journalled, and resumable if it dies."""
    if venue is not None and (not live or limits is None):
        missing = "--limits" if live else "--live"
        raise ConfigError(
            "command line", "--venue", f"sends orders to it only with {missing}", remedy="say --live, and --limits FILE"
        )
    brought = Brought(file, pairs(set_), False, limits, ranker, policy)
    effective = brought.load(Choices(profile, config, symbols=symbols, seed=seed, checks=checks, components=components))
    lived = {
        "feed": settled(feed) if feed_kind(feed) is None else feed_kind(feed),
        "grace": grace,
        "interval_s": interval,
        "started": datetime.now(UTC).isoformat(),
        "venue": "" if venue is None else settled(venue),
    }
    effective = effective.model_copy(update={"own": effective.own.model_copy(update=lived)})
    own_strategy(effective.own)
    check(effective)
    source = paper_feed(effective)
    if limits is None:
        effective = with_room(effective, source.symbols)
    door = Door(host, port, allow_origin, tokens, behind_proxy, tls_cert, tls_key)
    place = None if as_json else shown_at(web, door, effective.app)
    folder = begun(effective, output)
    if not as_json:
        say(f"{_told(effective)}, on {feed} until Ctrl-C")
    carry_out(folder, effective, source, Manner(0.0, metrics_port, metrics_host, notify, as_json, place=place))


def feed_kind(reference: str) -> str | None:
    """A feed of a shipped kind with the whole path of its file; None for one of a user's own."""
    kind, _, rest = reference.partition(":")
    if kind in {"ws", "wss"}:
        return reference
    return f"{kind}:{Path(rest).resolve()}" if kind in {"file", "tail"} else None


def begun(config: Config, output: Path | None) -> RunFolder:
    """A folder for a new run. Raises `RunUnfinished`, `ConfigError`."""
    runs = Path(config.app.run_directory)
    stem = f"{config.own.strategy_id}-{config.sha256()[:12]}"
    folder = RunFolder(output) if output is not None else free_folder(runs, stem)
    try:
        folder.begin(config)
    except OSError as cause:
        raise unwritable(folder.path, cause, "--output") from cause
    return folder


def _told(config: Config) -> str:
    own = config.own
    params = ", ".join(f"{name} {value}" for name, value in own.params.items()) or "no parameters"
    return f"{own.strategy_id} ({params}): {'through the lifecycle' if own.gated else 'LIVE by your word'}"
