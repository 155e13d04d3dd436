"""Where our help and what is said of a mistyped command line differ from Typer's.

``--help`` stands with the last options; usage names an argument as everyone does; whoever reads the help may leave; a
command that isn't known is told with those that are.
"""

from __future__ import annotations

import contextlib
import textwrap
from collections.abc import Iterable, Iterator
from typing import Any

import typer
from typer.core import TyperArgument, TyperCommand, TyperGroup, TyperOption

from ..errors import did_you_mean

NAMES = {"help_option_names": ["-h", "--help"]}
"""Typer's settings of a command."""
COMPLETION_WIDTH = 60


class Command(TyperCommand):
    """A command with its options."""

    def __init__(self, *args: Any, **settings: Any) -> None:
        super().__init__(*args, **settings)
        for param in self.params:
            if isinstance(param, TyperArgument):
                vars(param)["display_type_rich"] = _no_type

    def get_help_option(self, ctx: Any) -> TyperOption | None:
        return _beside(super().get_help_option(ctx), self.params)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        try:
            return super().parse_args(ctx, args)
        except typer.TyperException as error:  # of an option without its value, Typer doesn't say which command's
            vars(error).update({"ctx": vars(error).get("ctx") or ctx})
            raise

    def format_help(self, ctx: Any, formatter: Any) -> None:
        with _readers_may_leave():
            super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        return _short(super().shell_complete(ctx, incomplete))


class Group(TyperGroup):
    """A command with commands."""

    def get_help_option(self, ctx: Any) -> TyperOption | None:
        return _beside(super().get_help_option(ctx), self.params)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        with _readers_may_leave():
            super().format_help(ctx, formatter)

    def shell_complete(self, ctx: Any, incomplete: str) -> list[Any]:
        return _short(super().shell_complete(ctx, incomplete))

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        typed = args[0]
        try:
            return super().resolve_command(ctx, args)
        except typer.TyperException as error:
            if not hasattr(error, "option_name"):
                known = self.list_commands(ctx)
                near = did_you_mean(typed, known)
                error.message = f"{error.message.rstrip('.')}{near or '.'} Commands: {', '.join(known)}."
            raise


def _short(items: list[Any]) -> list[Any]:
    """Each with a line of help: Typer would wrap it, and a shell take its second line for an item."""
    for item in items:
        item.help = item.help and textwrap.shorten(item.help.split(". ")[0], COMPLETION_WIDTH, placeholder=" ...")
    return items


def _no_type(ctx: Any) -> str:  # noqa: ARG001
    """Of an argument, whose name says it: Typer's would be <str>."""
    return ""


def _beside(option: TyperOption | None, others: Iterable[Any]) -> TyperOption | None:
    if option is not None:
        panels = [other.rich_help_panel for other in others if isinstance(other, TyperOption)]
        _as_flag(option, panels[-1] if panels else None)
    return option


def _as_flag(option: TyperOption, panel: str | None) -> None:
    option.rich_help_panel = panel
    option.metavar = ""  # Typer's would be <bool>, as if a flag took a value
    option.default = False  # None would be converted, by pydantic, which takes 0.1 s to import


@contextlib.contextmanager
def _readers_may_leave() -> Iterator[None]:
    try:
        yield
    except SystemExit as end:  # rich's, where the pipe is closed
        raise typer.Exit from end


def completing(params: Iterable[Any], panel: str | None = None) -> None:
    """--install-completion and --show-completion, where they are, as flags of ours; in that panel."""
    for param in params:
        if param.name in ("install_completion", "show_completion"):
            _as_flag(param, panel)
