"""What an option is, said once: its name, its help, and the panel of ``--help`` that it stands in.

A command's options are a value (:class:`millwork.pipeline.options.Options`), each field annotated with one of these:

    data: Annotated[str | None, Opt("--data", metavar="FILE", help="Rows of your traffic.", panel=MODEL)] = None

The command line (``cli/command.py``) and the Python API (``api.py``) both read the value, and say nothing of it again.
"""

from __future__ import annotations

import functools
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin, get_type_hints

import msgspec

from ..values import Value

MODEL = "Model and data"
TRAFFIC = "Traffic and limits"
CANDIDATES = "Candidates"
PUBLICATION = "Publication"
ADVANCED = "Advanced"
PANELS = (MODEL, TRAFFIC, CANDIDATES, PUBLICATION, ADVANCED)
"""In the order of ``--help``."""


PATHS = frozenset({"FILE", "FILE.npy", "KEY.pem", "DIR", "PATH", "URL", "WHERE", "SPEC", "MODEL", "RUN_DIR"})
"""What stands for a value that is a path, or may be one."""


class Opt(Value, kw_only=False):
    """An option, ``--name``. ``metavar`` stands for its value, and is empty for a flag. ``values``: those that a shell
    may complete; ``listed``: it takes several of them, between commas."""

    name: str
    help: str
    panel: str = ADVANCED
    metavar: str = ""
    values: Callable[[], Iterable[str]] | None = None
    listed: bool = False


class Arg(Value, kw_only=False):
    """An argument, by its place."""

    metavar: str
    help: str


class Declared(Value):
    """A field of a command's options. ``kind``: the type of its value on the command line, where everything is text at
    first: bool (a flag), int, float, str, or list for what may be said several times."""

    name: str
    kind: type
    said: Opt | Arg


class Options(Value, kw_only=True):
    """The base of every command's options: ``~`` in a path is the home folder, also where no shell has seen to it, as
    in ``--repository=~/models`` and in Python."""

    def __post_init__(self) -> None:
        for name in _paths(type(self)):
            given = getattr(self, name)
            if expanded(given) is not given:
                msgspec.structs.force_setattr(self, name, expanded(given))


def expanded(given: Any) -> Any:
    """A path with the home folder in the place of ``~``; anything else as it is. ``./~`` names what is called so."""
    if not isinstance(given, str | Path) or not str(given).startswith("~"):
        return given
    return type(given)(os.path.expanduser(given))  # noqa: PTH111 (pathlib's raises for a user who isn't there)


@functools.cache
def _paths(options: type) -> tuple[str, ...]:
    """The fields that may hold a path: by what is declared, and of live arguments those that files may be given for."""
    declared_paths = (field.name for field in declared(options) if field.said.metavar in PATHS)
    return tuple(dict.fromkeys([*declared_paths, *(name for name in fields(options) if name in ("model", "data"))]))


def fields(options: Any) -> tuple[str, ...]:
    """The names of a value's fields: its own first, then those that it has from its base."""
    return tuple({name: None for kind in options.__mro__ for name in vars(kind).get("__annotations__", {})})


def declared(options: type) -> tuple[Declared, ...]:
    """The options that a value has, in that order."""
    hints = get_type_hints(options, include_extras=True)
    found = (declare(name, hints[name]) for name in fields(options))
    return tuple(field for field in found if field is not None)


def declare(name: str, hint: Any) -> Declared | None:
    """A field or a parameter, by its type; None where that names no option."""
    parts = tuple(_parts(hint))
    said = next((part for part in parts if isinstance(part, Opt | Arg)), None)
    if said is None:
        return None
    kinds = [get_origin(part) or part for part in parts]
    kind = next((kind for kind in (bool, int, float) if kind in kinds), list if tuple in kinds else str)
    return Declared(name=name, kind=kind, said=said)


def _parts(hint: Any) -> Iterable[Any]:
    """The types that a value may have, and what is said of it: those of ``X | None`` and ``Annotated[X, …]``."""
    if get_origin(hint) in (Annotated, Union, UnionType):
        for part in (*get_args(hint), *getattr(hint, "__metadata__", ())):
            yield from _parts(part)
    else:
        yield hint
