"""The command line `python -m asrlib COMMAND`, with a command for the work of each stage.

Each command is a module of `asrlib.cli`. It is imported only when it is called, so that `--help` is
fast and a command needs no library that it does not use.
"""

from __future__ import annotations

import ast
import importlib
import logging
import sys
import traceback
from pathlib import Path

from asrlib import __version__
from asrlib.errors import UserError
from asrlib.files import no_room
from asrlib.stages import stage_of

try:
    import click
except ModuleNotFoundError:
    sys.exit(
        "error: click is not installed in this Python\n"
        "  fix: run `. ./path.sh`, after tools/install.sh; for the audit alone, "
        "pip install 'fairstream[audit]'"
    )

COMMANDS = (
    "doctor",
    "check",
    "manifests",
    "fbank",
    "tokens",
    "train-lm",
    "train",
    "decode",
    "tune-decode",
    "score",
    "compare",
    "sizes",
    "interpolate",
    "align",
    "toggles",
    "mixtures",
    "score-meetings",
    "name-turns",
    "score-verification",
    "compare-verification",
    "raised",
    "cohorts",
    "plan",
    "jobs",
    "judge-mitigations",
    "publish",
    "results",
    "embed",
    "verify",
    "transcribe",
    "bench",
    "audit",
)


def _module(command: str) -> str:
    return command.replace("-", "_")


def summary(command: str) -> str:
    """Return the first sentence of a command's help, and its stage, without importing it."""
    path = Path(__file__).parent / "cli" / f"{_module(command)}.py"
    tree = ast.parse(path.read_text(encoding="utf-8"))
    function = next(
        f for f in ast.walk(tree) if isinstance(f, ast.FunctionDef) and f.name == "command"
    )
    text = click.Command(command, help=ast.get_docstring(function)).get_short_help_str(limit=200)
    stage = stage_of(command)
    return text.rstrip(".") + (f" (stage {stage.number})" if stage else "")


class LazyGroup(click.Group):
    """A click group that imports the module of a command only when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        return importlib.import_module(f"asrlib.cli.{_module(cmd_name)}").command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, summary(name)) for name in COMMANDS])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="asrlib")
@click.option("--debug", is_flag=True, help="Show the traceback of an error.")
@click.pass_context
def cli(ctx: click.Context, debug: bool) -> None:
    """Train streaming speech recognisers, and measure for which speakers they fail."""
    ctx.obj = {"debug": debug}


def main(command: click.Command = cli) -> None:
    """Run a command line; show an error that the user can fix as two lines, not as a traceback.

    The two lines, or the traceback of another error, are also written to the command's log file.
    """
    try:
        status = command.main(standalone_mode=False)
    except click.exceptions.Abort as e:
        if isinstance(e.__cause__, EOFError):  # click mistakes it for Ctrl-D at a prompt
            raise e.__cause__ from None
        sys.exit(130)
    except click.ClickException as e:
        e.show()
        sys.exit(e.exit_code)
    except Exception as e:
        told = None if "--debug" in sys.argv else _explanation(e, command)
        _log(traceback.format_exc() if told is None else told)
        if told is None:
            raise
        click.echo(told, err=True)
        sys.exit(1)
    # Outside its standalone mode click returns the exit status of a command.
    sys.exit(status if isinstance(status, int) else 0)


def _explanation(error: Exception, command: click.Command) -> str | None:
    """Return the text of an error that the user can fix; None if the program is at fault."""
    if isinstance(error, UserError):
        return f"error: {error}"
    if isinstance(error, ImportError) and (error.name or "").split(".")[0] != "asrlib":
        return (
            f"error: {error}\n"
            "  fix: run tools/install.sh; python -m asrlib doctor checks all packages; for the "
            "audit alone, pip install 'fairstream[audit]'"
        )
    if isinstance(error, OSError) and (error.filename is not None or no_room(error)):
        fix = "check the path and its permissions"
        if command is cli:
            fix += "; give --debug before the command to see the traceback"
        if no_room(error):
            fix = "free some space there, then run again"
        return f"error: {error.filename or 'output'}: {error.strerror}\n  fix: {fix}"
    return None


def _log(text: str) -> None:
    """Write to the open log files only; `logging` itself would also write to the screen."""
    record = logging.makeLogRecord(
        {"levelno": logging.ERROR, "levelname": "ERROR", "msg": text.rstrip()}
    )
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler):
            handler.handle(record)


if __name__ == "__main__":
    main()
