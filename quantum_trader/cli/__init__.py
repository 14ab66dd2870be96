"""Command line: `qt`. Every command is a few lines over the app; every expected fault is one line and an exit code.

Exit codes: 0 ok, 1 a check failed, 2 usage or configuration, 3 data, 4 the run was halted.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache, partial
from importlib.metadata import version
from typing import Annotated, Any

import typer

from eventbus.cli.streams import is_reader_gone, prepare_streams
from quantum_trader.cli import (
    charting,
    data,
    exporting,
    history,
    looking,
    operating,
    own,
    runs,
    serving,
    settings,
    sweeping,
    wiring,
)
from quantum_trader.cli.faults import DATA, EXPECTED, INTERRUPTED, USAGE, exit_code, remedied
from quantum_trader.cli.saying import clean, is_text, say, shortened

app = typer.Typer(
    name="qt",
    help="A paper-trading laboratory on the eventbus. It ships no order path to any venue.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(is_asked: bool) -> None:
    if is_asked:
        say(f"qt {version('quantum-trader')}")
        raise typer.Exit


@app.callback()
def _before(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


app.add_typer(data.app, name="data")
app.add_typer(settings.app, name="config")
runs.register(app)
own.register(app)
sweeping.register(app)
exporting.register(app)
history.register(app)
looking.register(app)
operating.register(app)
serving.register(app)
charting.register(app)
wiring.register(app)

_command = cache(partial(typer.main.get_command, app))  # it takes longer to make than most commands to run

# Of the click that typer uses, which may be its own; it is the root of what is wrong with a command line.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of `qt`. Ends the process with an exit code; what goes wrong is one line on stderr."""
    prepare_streams()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command; gives its exit code."""
    for argument in arguments:
        if not is_text(argument):  # what is kept with a run, or named in a message, could not be written
            return _complain(
                f"{shortened(ascii(argument), 100)} is no text: it holds bytes that are no UTF-8; see qt --help", USAGE
            )
    try:
        code = _command().main(list(arguments), prog_name="qt", standalone_mode=False)
    except UsageError as error:
        return _complain(_usage(error), USAGE)
    except (typer.Abort, KeyboardInterrupt):
        return _complain("interrupted", INTERRUPTED)
    except SystemExit as end:
        if is_reader_gone(end):
            return 0
        raise
    except EXPECTED as error:
        return _complain(remedied(error), exit_code(error))
    except OSError as error:
        return _complain(
            f"{error.filename or 'file'}: {error.strerror or error}; check the path and its permissions", DATA
        )
    return code if isinstance(code, int) else 0


def _usage(error: Any) -> str:
    """What is wrong with a command line, naming the option or argument, and where help is."""
    context = getattr(error, "ctx", None)
    command = "qt" if context is None else context.command_path
    return f"{error.format_message().rstrip('.').replace('Value error, ', '')}; see {command} --help"


def _complain(message: str, code: int) -> int:
    sys.stderr.write(f"qt: {clean(shortened(' '.join(message.split())))}\n")
    return code
