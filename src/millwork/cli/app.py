"""The group of commands, and what every command's end looks like: an exit code, and one clear message."""

from __future__ import annotations

import io
import os
import sys
import tempfile
import traceback
from importlib import import_module
from pathlib import Path

import click
from rich.text import Text

from .. import __version__
from ..artifacts.report import text
from ..errors import InternalError, MillworkError
from .console import Console, reader_left
from .terminal import print_error

COMMANDS = {
    "optimize": "optimize",
    "predict": "predict",
    "bench": "bench",
    "inspect": "inspect",
    "report": "report",
    "tune": "tune",
    "retune": "retune",
    "publish": "publish",
    "rollback": "rollback",
    "verify": "verify",
    "triton": "triton",
    "toolchain": "toolchain",
    "doctor": "doctor",
    "worker": "worker",
}
"""Command -> module of this package that has a click command of the command's name. Imported when it is asked for."""

INTERRUPTED = 130

COMPLETION = "_MILLWORK_COMPLETE"
"""The environment variable by which a shell asks click how a command line could go on."""


class LazyGroup(click.Group):
    """Imports a command's module when the command is used."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = getattr(import_module(f".{COMMANDS[cmd_name]}", __package__), cmd_name)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            raise click.UsageError(f"{error.message.rstrip('.')}. Commands: {', '.join(COMMANDS)}.", ctx) from error


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="millwork")
def millwork() -> None:
    """Compiler and release gate for tabular models on Triton Inference Server.

    A trained XGBoost or CatBoost model in; a provably equal, measured artifact out, published atomically into a
    Triton model repository and checked on a real server.
    """


def main() -> None:
    """``millwork``."""
    sys.exit(run(millwork, sys.argv[1:]))


def optimize_main() -> None:
    """``optimize``: the same as ``millwork optimize``."""
    sys.exit(run(millwork, ["optimize", *sys.argv[1:]]))


def run(command: click.Command, arguments: list[str]) -> int:
    """Run a command; its exit code. Whatever goes wrong is one message on stderr, never a traceback."""
    console = Console()
    try:
        returned = _invoked(command, arguments)
        return returned if isinstance(returned, int) else 0
    except click.exceptions.Exit as end:
        return end.exit_code
    except click.UsageError as error:
        shown = io.StringIO()
        error.show(shown)
        console.print(Text(text.visible(shown.getvalue())), soft_wrap=True, end="")
        return error.exit_code
    except MillworkError as error:
        print_error(console, error)
        return error.exit_code
    except KeyboardInterrupt:
        kept = "; finished stages are kept, and the same command goes on from there" if _resumes(arguments) else ""
        console.print(f"\nstopped{kept}", style="dim", soft_wrap=True)
        return INTERRUPTED
    except Exception as error:  # noqa: BLE001 -- the process's boundary: a bug of ours, said so, with a report file
        if isinstance(error, BrokenPipeError) and reader_left():
            return 0  # whoever read --help or --version: all else is written by console.py
        report = _report(error, arguments)
        print_error(console, InternalError(f"a bug in millwork: {type(error).__name__}: {error}", f"Details: {report}"))
        return InternalError.exit_code


def _invoked(command: click.Command, arguments: list[str]) -> object:
    """What the command returns. As ``command.main`` has it, but there an EOFError is a Ctrl-C, and any BrokenPipeError
    the end of the process."""
    if os.environ.get(COMPLETION):
        command.main(arguments, prog_name="millwork")
    with command.make_context("millwork", list(arguments)) as context:
        return command.invoke(context)


def _resumes(arguments: list[str]) -> bool:
    """Whether the command keeps its stages."""
    return arguments[:1] in (["optimize"], ["tune"]) or (arguments[:1] == ["bench"] and "--run-dir" in arguments)


def _report(error: BaseException, arguments: list[str]) -> str:
    """A file with the traceback and the command; its path."""
    text = f"millwork {__version__}\npython {sys.version}\narguments {arguments}\n\n"
    text += "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="millwork-bug-", suffix=".txt", delete=False) as file:
            file.write(text)
        return str(Path(file.name))
    except OSError:
        return text
