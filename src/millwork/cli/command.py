"""A command out of its options' value: the signature that Typer reads, written nowhere else.

    @command(Options)
    def optimize(options: Options, as_json: AsJson = False) -> int: ...

``as_json`` says how to answer, so that it is the command line's own and not among the options.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable
from functools import wraps
from typing import Annotated, Any, Concatenate, TypeVar, get_type_hints, overload

import typer
from typer.core import TyperCommand

from ..commands.surroundings import require_text
from ..pipeline.option import ADVANCED, PANELS, Arg, Declared, Opt, declare, declared
from .help import NAMES, Command, Group, completing

O = TypeVar("O")  # noqa: E741 -- the options

AsJson = Annotated[bool, Opt("--json", help="Print the result on stdout, as one JSON document.", panel=ADVANCED)]
AsRecord = Annotated[bool, Opt("--json", help="Print the record on stdout, as in RUN_DIR/run.json.", panel=ADVANCED)]

Run = Callable[..., int | None]
"""A command's function, as Typer calls it: options by name; its exit code, 0 for None."""


@overload
def command() -> Callable[[Callable[..., int | None]], Run]: ...


@overload
def command(options: type[O]) -> Callable[[Callable[Concatenate[O, ...], int | None]], Run]: ...


def command(options: type[Any] | None = None) -> Callable[[Callable[..., int | None]], Run]:
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
            require_text(given)
            said = {field.name: _value(field, given.pop(field.name)) for field in fields}
            return function(options(**said), **given)

        ordered = _ordered(parameters)
        called.__signature__ = inspect.Signature(ordered)  # type: ignore[attr-defined]
        called.__annotations__ = {parameter.name: parameter.annotation for parameter in ordered}
        return called

    return decorate


def group(about: str) -> typer.Typer:
    """A group of commands, such as ``millwork triton``."""
    return typer.Typer(
        help=_escaped(about), cls=Group, no_args_is_help=True, add_completion=False, suggest_commands=False
    )


def add(to: typer.Typer, name: str, panel: str = "") -> Callable[[Run], Run]:
    """The decorator that makes a function a command of a group. ``panel``: where it stands in the group's help."""

    def decorate(function: Run) -> Run:
        about = "\n\n".join(" ".join(part.split()) for part in (inspect.getdoc(function) or "").split("\n\n"))
        to.command(name, cls=Command, help=_escaped(about), context_settings=NAMES, rich_help_panel=panel or None)(
            function
        )
        return function

    return decorate


def alone(function: Run, name: str, panel: str = "", *, completion: bool = False) -> TyperCommand:
    """A command by itself. ``completion``: it is a program, which can install what completes its command line."""
    program = typer.Typer(add_completion=completion)
    add(program, name, panel)(function)
    made = typer.main.get_command(program)
    if not isinstance(made, TyperCommand):
        raise TypeError(f"{name} is a group")
    completing(made.params, ADVANCED)
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


def _ordered(parameters: list[inspect.Parameter]) -> list[inspect.Parameter]:
    """Arguments first, then panel by panel. What has only the last panel has no panels."""
    panels = {parameter.name: parameter.annotation.__metadata__[0].rich_help_panel for parameter in parameters}
    if not set(panels.values()) - {None, ADVANCED}:
        for parameter in parameters:
            parameter.annotation.__metadata__[0].rich_help_panel = None
    order = (None, *PANELS)
    return sorted(parameters, key=lambda parameter: order.index(panels[parameter.name]))


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
