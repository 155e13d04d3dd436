"""The group of commands, and what every command's end looks like: an exit code, and one clear message."""

from __future__ import annotations

import contextlib
import os
import signal
import sys
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup

from .. import __version__, interrupts
from ..commands import surroundings
from ..commands.faults import known
from ..errors import InternalError, MillworkError, UsageError, did_you_mean
from .command import alone
from .early import begun
from .help import NAMES, Group, completing

MODELS, PUBLISHED, TOOLS = "Models", "Published models", "Tools"

COMMANDS = {
    "optimize": MODELS,
    "bench": MODELS,
    "inspect": MODELS,
    "report": MODELS,
    "publish": PUBLISHED,
    "rollback": PUBLISHED,
    "predict": PUBLISHED,
    "verify": PUBLISHED,
    "tune": PUBLISHED,
    "retune": PUBLISHED,
    "doctor": TOOLS,
    "triton": TOOLS,
    "toolchain": TOOLS,
    "worker": TOOLS,
}
"""Command -> where it stands in the help. Each is in the module of this package that has its name, imported when it is
asked for: a function, or a group of them (``typer.Typer``)."""

SIGNALLED = 128
"""And the signal's number, where one stopped it: 130 for Ctrl-C."""


def load(name: str, *, completion: bool = False) -> TyperCommand | TyperGroup:
    """The command called ``name``."""
    found = getattr(import_module(f".{name}", __package__), name)
    if not isinstance(found, typer.Typer):
        return alone(found, name, COMMANDS[name], completion=completion)
    group = typer.main.get_group(found)
    group.name, group.rich_help_panel = name, COMMANDS[name]
    return group


class LazyGroup(Group):
    """Imports a command's module when the command is used."""

    def list_commands(self, ctx: Any) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: Any, cmd_name: str) -> TyperCommand | TyperGroup | None:
        return load(cmd_name) if cmd_name in COMMANDS else None


root = typer.Typer(cls=LazyGroup, context_settings=NAMES, no_args_is_help=True, suggest_commands=False)


def _version(asked: bool) -> None:
    if asked:
        from .console import answer

        answer(f"millwork, version {__version__}")
        raise typer.Exit


@root.callback()
def _root(
    version: Annotated[
        bool, typer.Option("--version", help="Show the version and exit.", is_eager=True, callback=_version)
    ] = False,
) -> None:
    """Compiler and release gate for tabular models on Triton Inference Server."""


def _group() -> TyperGroup:
    group = typer.main.get_command(root)
    if not isinstance(group, TyperGroup):
        raise TypeError("millwork is no group")
    completing(group.params)
    return group


millwork = _group()


def main() -> None:
    """``millwork``."""
    begun(step=sys.argv[1:2] == ["worker"])
    sys.exit(run(millwork, sys.argv[1:]))


def optimize_main() -> None:
    """``optimize``: the same as ``millwork optimize``."""
    begun()
    sys.exit(run(load("optimize", completion=True), sys.argv[1:], "optimize"))


def run(command: TyperCommand | TyperGroup, arguments: list[str], program: str = "millwork") -> int:
    """Run a command; its exit code. Whatever goes wrong is one message on stderr, never a traceback."""
    name = program if program in COMMANDS else next(iter(arguments), "")
    try:
        if arguments and not {"--help", "-h", "--version"} & set(arguments):
            surroundings.require()
        returned = _invoked(command, arguments, program)
        return returned if isinstance(returned, int) else 0
    except typer.Exit as end:
        return end.exit_code
    except SystemExit as end:  # Typer's, after it has installed or shown what completes a command line
        return end.code if isinstance(end.code, int) else 0
    except typer.TyperException as error:
        message = error.format_message()  # none where nothing was typed: then help was shown
        return _said(UsageError(_plain(error, message), _usage(error))) if message else UsageError.exit_code
    except MillworkError as error:
        return _said(known(error, name) or error)
    except KeyboardInterrupt as error:
        return _stopped(name, arguments, error)
    except Exception as error:  # noqa: BLE001 -- the process's boundary: a bug of ours, said so, with a report file
        if isinstance(error, BrokenPipeError) and _reader_left():
            return 0  # whoever read --help or --version: all else is written by console.py
        if (said := _unwritten(error) or known(error, name)) is not None:
            return _said(said)
        report = _report(error, arguments)
        return _said(InternalError(f"a bug in millwork: {type(error).__name__}: {error}", f"Details: {report}"))


def _said(error: MillworkError) -> int:
    from .console import Console
    from .terminal import print_error

    print_error(Console(), error)
    return error.exit_code


def _stopped(name: str, arguments: list[str], error: KeyboardInterrupt) -> int:
    from .console import Console

    number = interrupts.number_of(error)
    by = "" if number == signal.SIGINT else f" by {interrupts.name_of(error)}"
    kept = "; finished stages are kept, and the same command goes on from there" if _resumes(name, arguments) else ""
    with contextlib.suppress(OSError):  # the terminal that hung up
        Console().print(f"\nstopped{by}{kept}", style="dim", soft_wrap=True)
    return SIGNALLED + number


def _unwritten(error: Exception) -> UsageError | None:
    """What to say where Typer or rich couldn't write help or a table on stdout."""
    trace = error.__traceback__
    while trace is not None and trace.tb_next is not None:
        trace = trace.tb_next
    where = "" if trace is None else str(trace.tb_frame.f_globals.get("__name__", ""))
    if not isinstance(error, OSError) or where.partition(".")[0] not in ("rich", "typer", "click"):
        return None
    from .console import unwritten

    return unwritten(error)


def _reader_left() -> bool:
    from .console import reader_left

    return reader_left()


def _invoked(command: TyperCommand | TyperGroup, arguments: list[str], program: str) -> object:
    """What the command returns. As ``command.main`` has it, but there an EOFError is a Ctrl-C, and any BrokenPipeError
    the end of the process."""
    if os.environ.get(f"_{program}_COMPLETE".upper()):  # a shell asks how a command line could go on
        command.main(arguments, prog_name=program)
    with command.make_context(program, list(arguments)) as context:
        return command.invoke(context)


def _plain(error: typer.TyperException, message: str) -> str:
    """Typer's message, with our words for options that are near the one that was typed."""
    near = getattr(error, "possibilities", None)
    return error.message + did_you_mean(near[0], near) if near else message


def _usage(error: typer.TyperException) -> str:
    """How the command is used, where it is known which one."""
    context = getattr(error, "ctx", None)
    return f"{context.get_usage()}\nTry '{context.command_path} --help' for help." if context is not None else ""


def _resumes(name: str, arguments: list[str]) -> bool:
    """Whether the command keeps its stages."""
    return name in ("optimize", "tune") or (name == "bench" and "--run-dir" in arguments)


def _report(error: BaseException, arguments: list[str]) -> str:
    """A file with the traceback and the command; its path."""
    import tempfile
    import traceback

    text = f"millwork {__version__}\npython {sys.version}\narguments {arguments}\n\n"
    text += "".join(traceback.format_exception(error))
    try:
        with tempfile.NamedTemporaryFile("w", prefix="millwork-bug-", suffix=".txt", delete=False) as file:
            file.write(text)
        return str(Path(file.name))
    except OSError:
        return text
