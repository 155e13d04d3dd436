"""A command out of its options' value: the signature that Typer reads, written nowhere else.

    @command(Options)
    def optimize(options: Options, as_json: AsJson = False) -> int: ...

``as_json`` says how to answer, so that it is the command line's own and not among the options.
"""

from __future__ import annotations

import contextlib
import inspect
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import wraps
from typing import Annotated, Any, TypeVar, get_type_hints

import typer
from typer.core import TyperCommand, TyperGroup, TyperOption

from ..pipeline.option import ADVANCED, PANELS, Arg, Declared, Opt, declare, declared

O = TypeVar("O")  # noqa: E741 -- the options

AsJson = Annotated[bool, Opt("--json", help="Print the result on stdout, as one JSON document.", panel=ADVANCED)]
AsRecord = Annotated[bool, Opt("--json", help="Print the record on stdout, as in RUN_DIR/run.json.", panel=ADVANCED)]

Run = Callable[..., int | None]
"""A command's function, as Typer calls it: options by name; its exit code, 0 for None."""


def command(options: type[O] | None = None) -> Callable[[Callable[..., int | None]], Run]:
    """The decorator: the function gets ``options`` made from what was typed, and its own parameters as they are."""

    def decorate(function: Callable[..., int | None]) -> Run:
        fields = () if options is None else declared(options)
        parameters = [] if options is None else _parameters(fields, options)
        own = [declare(*named) for named in get_type_hints(function, include_extras=True).items()]
        parameters += _parameters([field for field in own if field is not None], function)

        @wraps(function)
        def called(**given: Any) -> int | None:
            if options is None:
                return function(**given)
            said = {field.name: _value(field, given.pop(field.name)) for field in fields}
            return function(options(**said), **given)

        ordered = sorted(parameters, key=_place)
        called.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in ordered}
        return called

    return decorate


HELP = {"help_option_names": ["-h", "--help"]}


def group(about: str) -> typer.Typer:
    """A group of commands, such as ``millwork triton``."""
    return typer.Typer(help=_escaped(about), cls=Group, no_args_is_help=True, add_completion=False)


def add(to: typer.Typer, name: str, panel: str = "") -> Callable[[Run], Run]:
    """The decorator that makes a function a command of a group. ``panel``: where it stands in the group's help."""

    def decorate(function: Run) -> Run:
        about = _escaped(inspect.getdoc(function) or "")
        to.command(name, cls=Command, help=about, context_settings=HELP, rich_help_panel=panel or None)(function)
        return function

    return decorate


def alone(function: Run, name: str, panel: str = "", *, completion: bool = False) -> TyperCommand:
    """A command by itself. ``completion``: it is a program, which can install what completes its command line."""
    program = typer.Typer(add_completion=completion)
    add(program, name, panel)(function)
    made = typer.main.get_command(program)
    if not isinstance(made, TyperCommand):
        raise TypeError(f"{name} is a group")
    return made


# ── as Typer has it ───────────────────────────────────────────────────────────────────────────────────────


def _parameters(fields: Iterable[Declared], of: Callable[..., object]) -> list[inspect.Parameter]:
    given = inspect.signature(of).parameters
    return [_parameter(field, given[field.name].default) for field in fields]


def _parameter(declared: Declared, default: Any) -> inspect.Parameter:
    said = declared.said
    info: Any
    if isinstance(said, Arg):
        info = typer.Argument(metavar=said.metavar, help=_escaped(said.help), show_default=False)
    else:
        info = typer.Option(
            said.name,
            metavar=said.metavar,
            help=_escaped(said.help),
            rich_help_panel=said.panel,
            parser=PARSERS.get(declared.kind),
            autocompletion=None if said.values is None else _completing(said),
        )
    if default == ():
        default = None  # Typer's own for a list
    kind: Any = list[str] if declared.kind is list else declared.kind
    optional = kind | None if default is None else kind
    return inspect.Parameter(
        declared.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[optional, info]
    )


def _value(declared: Declared, given: Any) -> Any:
    return tuple(given or ()) if declared.kind is list else given


def _place(parameter: inspect.Parameter) -> tuple[bool, int]:
    """Arguments first, then panel by panel."""
    info = parameter.annotation.__metadata__[0]
    panel = getattr(info, "rich_help_panel", None)
    return panel is not None, PANELS.index(panel) if panel is not None else 0


def _whole(given: Any) -> int:
    try:
        return int(given)
    except ValueError as error:
        raise typer.BadParameter(f"{given!r} is not a whole number.") from error


def _number(given: Any) -> float:
    try:
        return float(given)
    except ValueError as error:
        raise typer.BadParameter(f"{given!r} is not a number.") from error


PARSERS: dict[type, Callable[[Any], Any]] = {int: _whole, float: _number}


def _completing(said: Opt) -> Callable[[str], list[str]]:
    """What a shell completes a value with; the last one, where it is a list."""

    def complete(incomplete: str) -> list[str]:
        before, comma, _ = incomplete.rpartition(",") if said.listed else ("", "", "")
        return [f"{before}{comma}{value}" for value in (said.values or tuple)()]

    return complete


def _escaped(text: str) -> str:
    """Help is rich's markup to Typer; ours has none."""
    return text.replace("[", r"\[")


# How our help differs from Typer's: --help stands with the last options, usage names an argument as everyone does, and
# whoever reads it may leave.


class Command(TyperCommand):
    """A command with its options."""

    def get_help_option(self, ctx: Any) -> TyperOption | None:
        return _beside(super().get_help_option(ctx), self.params)

    def collect_usage_pieces(self, ctx: Any) -> list[str]:
        return [piece.strip("{}") for piece in super().collect_usage_pieces(ctx)]

    def format_help(self, ctx: Any, formatter: Any) -> None:
        with _readers_may_leave():
            super().format_help(ctx, formatter)


class Group(TyperGroup):
    """A command with commands."""

    def get_help_option(self, ctx: Any) -> TyperOption | None:
        return _beside(super().get_help_option(ctx), self.params)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        with _readers_may_leave():
            super().format_help(ctx, formatter)


def _beside(option: TyperOption | None, others: Sequence[Any]) -> TyperOption | None:
    if option is not None:
        panels = [other.rich_help_panel for other in others if isinstance(other, TyperOption)]
        option.rich_help_panel = panels[-1] if panels else None
        option.metavar = ""  # Typer's would be <bool>, as if a flag took a value
        option.default = False  # None would be converted, by pydantic, which takes 0.1 s to import
    return option


@contextlib.contextmanager
def _readers_may_leave() -> Iterator[None]:
    try:
        yield
    except SystemExit as end:  # rich's, where the pipe is closed
        raise typer.Exit from end
