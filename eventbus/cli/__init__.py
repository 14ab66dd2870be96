"""Command line: look into a journal, live or closed, tend and steer it, serve a bus. Readers never get in the way of a writer.

Exit codes: 0 it is so; 1 it is not (damaged, different, not found); 2 the command was wrong; 3 the journal cannot be used now.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from functools import cache, partial
from importlib.metadata import version
from typing import Annotated, Any

import typer

from eventbus.cli import render
from eventbus.cli.looking import app as looking
from eventbus.cli.render import complain
from eventbus.cli.serving import app as serving
from eventbus.cli.serving import tokens
from eventbus.cli.steering import app as steering
from eventbus.cli.streams import is_reader_gone, prepare_streams
from eventbus.cli.tending import app as tending
from eventbus.cli.tending import letters
from eventbus.errors import EventBusError, JournalDamaged, JournalUnavailable
from eventbus.errors import UsageError as UsageFault

app = typer.Typer(
    help="Look into the journal of an event bus, live or closed, steer it, and serve a bus.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


def _version(is_asked: bool) -> None:
    if is_asked:
        render.say(f"eventbus {version('quantum-trader')}")
        raise typer.Exit


@app.callback()
def _before(
    _version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    pass


for part in (looking, tending, steering, serving):
    app.registered_commands += part.registered_commands
app.add_typer(letters, name="dead-letters")
app.add_typer(tokens, name="token")

_command = cache(partial(typer.main.get_command, app))  # it takes longer to make than to run

# Of the click that typer uses, which may be its own; it is the root of what is wrong with a command line.
UsageError: type[Exception] = typer.BadParameter.__mro__[1]


def main(arguments: Sequence[str] | None = None) -> None:
    """The entry point. Ends the process with an exit code; what goes wrong is one line on stderr, never a traceback."""
    prepare_streams()
    sys.exit(run(sys.argv[1:] if arguments is None else arguments))


def run(arguments: Sequence[str]) -> int:
    """Run one command; gives its exit code."""
    try:
        code = _command().main(list(arguments), prog_name="eventbus", standalone_mode=False)
    except UsageError as error:
        complain(_usage(error))
        return 2
    except (typer.Abort, KeyboardInterrupt):
        return 130
    except SystemExit as end:
        if is_reader_gone(end):
            return 0
        raise
    except UsageFault as error:
        complain(str(error))
        return 2
    except JournalUnavailable as error:
        complain(f"{error.path}: {error.reason}")
        return 3
    except JournalDamaged as error:
        complain(str(error))
        return 1
    except LookupError as error:
        complain(str(error.args[0]) if error.args else str(error))
        return 1
    except (EventBusError, OSError) as error:
        complain(str(error))
        return 3
    return code if isinstance(code, int) else 0


def _usage(error: Any) -> str:
    """What is wrong with a command line, naming the option or argument, and where help is."""
    context = getattr(error, "ctx", None)
    command = "eventbus" if context is None else context.command_path
    return f"{error.format_message().rstrip('.')}; see {command} --help"
