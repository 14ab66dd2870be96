"""Command line: `qt`. Every command is a few lines over the app; every expected fault is one line and an exit code.

Exit codes: 0 ok, 1 a check failed, 2 usage or configuration, 3 data, 4 the run was halted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence

import typer

from quantum_trader.cli import data, history, looking, operating, runs, settings, wiring
from quantum_trader.cli.faults import EXPECTED, exit_code, one_line

app = typer.Typer(
    name="qt",
    help="A paper-trading laboratory on the eventbus. It has no order path to any venue.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
app.add_typer(data.app, name="data")
app.add_typer(settings.app, name="config")
runs.register(app)
history.register(app)
looking.register(app)
operating.register(app)
wiring.register(app)


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of `qt`."""
    try:
        app(args=None if arguments is None else list(arguments), standalone_mode=True)
    except KeyboardInterrupt:
        sys.stderr.write("qt: interrupted\n")
        sys.exit(130)
    except EXPECTED as error:
        sys.stderr.write(f"qt: {one_line(error)}\n")
        sys.exit(exit_code(error))
