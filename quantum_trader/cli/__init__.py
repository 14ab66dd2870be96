"""Command line: `qt`. Every command is a few lines over the app; every expected fault is one line and an exit code.

Exit codes: 0 ok, 1 a check failed, 2 usage or configuration, 3 data, 4 the run was halted.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from typing import Any

import typer

from quantum_trader.cli import charting, data, history, looking, operating, runs, settings, wiring
from quantum_trader.cli.faults import DATA, EXPECTED, INTERRUPTED, USAGE, exit_code, remedied

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
charting.register(app)
wiring.register(app)


# Of the click that typer uses, which may be its own; it is the root of what is wrong with a command line.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point of `qt`. Ends the process with an exit code; what goes wrong is one line on stderr."""
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command; gives its exit code."""
    try:
        code = typer.main.get_command(app).main(list(arguments), prog_name="qt", standalone_mode=False)
    except UsageError as error:
        return _complain(_usage(error), USAGE)
    except (typer.Abort, KeyboardInterrupt):
        return _complain("interrupted", INTERRUPTED)
    except BrokenPipeError:  # whoever read the output has seen enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
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
    sys.stderr.write(f"qt: {' '.join(message.split())}\n")
    return code
