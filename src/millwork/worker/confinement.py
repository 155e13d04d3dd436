"""What a worker's process is told of its sandbox; :mod:`.sandbox` is what the process then does with it."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path

import msgspec

from ..errors import TargetError
from ..values import Value
from ..values.base import FilePath
from . import sandbox


class Sandbox(Value, frozen=True):
    """What a process may read beside what its call names: ``reads``. ``on``: it is confined at all; not where the user
    trusts the model, or the step reads none. ``gpu``: the weaker profile, for work on a GPU."""

    reads: tuple[Path, ...] = ()
    on: bool = True
    gpu: bool = False


USUAL_SANDBOX = Sandbox()
NO_SANDBOX = Sandbox(on=False)


def variables_of(asked: Sandbox, folder: Path, named: Iterable[str]) -> dict[str, str]:
    """The variable that says what the process may read and write: ``folder`` is its own, ``named`` its call's paths.

    TargetError where the kernel has no sandbox.
    """
    if not asked.on:
        return {}
    missing = sandbox.missing()
    if missing:
        raise TargetError(
            f"models are read in a sandbox, but {missing}",
            "Run on Linux 5.13 or newer with Landlock. Or give --trust: the file is then read without a sandbox.",
        )
    return {"MILLWORK_SANDBOX": json.dumps([[*named, *map(str, asked.reads)], [str(folder.resolve())], asked.gpu])}


def paths_in(request: object) -> Iterator[str]:
    """What a request names to be read: never a string that came out of a model, whatever it looks like."""
    if isinstance(request, msgspec.Struct):
        for field in msgspec.structs.fields(request):
            own = getattr(request, field.name)
            if field.type in (FilePath, tuple[FilePath, ...]):
                yield from filter(is_path, [own] if isinstance(own, str) else own)
            else:
                yield from paths_in(own)
    elif isinstance(request, tuple | list):
        for each in request:
            yield from paths_in(each)


def is_path(text: str) -> bool:
    """Whether it is the absolute path of something that is there."""
    try:
        return text.startswith("/") and Path(text).exists()
    except (OSError, ValueError):  # too long, or not ours to look at
        return False
