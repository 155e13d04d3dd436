"""The child's side of a worker: find the function that a step names, and answer one request.

The contract, the same on the worker's pipe and in ``millwork worker``::

    {"step": "millwork.compile.compile_steps:build", "request": {…}}
    {"ok": true, "reply": {…}}
    {"ok": false, "error": {"type": "ModelError", "message": "…", "hint": "…"}}

A step is a public function of a module inside millwork that takes one Struct and returns one. This module imports
little, since every worker pays for it at start.
"""

from __future__ import annotations

import importlib
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, get_type_hints

import msgspec

from .errors import InternalError, MillworkError, UsageError
from .storage import machine, wire

LONGEST_MESSAGE = 4000
"""Characters of an exception's message that go home; native libraries put whole stack traces in theirs."""

Step = Callable[[Any], object]


class Call(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A step's name and its request, still undecoded: only the function knows the request's type."""

    step: str
    request: msgspec.Raw


class Problem(msgspec.Struct, frozen=True):
    """An exception on its way home; ``type`` is a name of :data:`millwork.errors.BY_NAME` or Python's own."""

    type: str
    message: str
    hint: str = ""


class Answer(msgspec.Struct, frozen=True, omit_defaults=True):
    """``reply`` where ``ok``, else ``error``."""

    ok: bool
    reply: msgspec.Raw = msgspec.Raw(b"null")
    error: Problem | None = None


def answer(call: bytes, *, extra: Path | None = None) -> Answer:
    """Run the step that ``call`` asks for. Whatever it raises is in the answer, its traceback on stderr.

    ``extra`` is a folder whose top-level modules may be steps too. It never comes from the call itself, so
    nobody who can only send a call can widen what may be run.
    """
    try:
        asked = _read(call)
        function, kind = find(asked.step, extra)
        reply = function(_request(asked, kind))
        return Answer(ok=True, reply=msgspec.Raw(wire.encode(reply)))
    except Exception as error:  # noqa: BLE001 -- the process's boundary: every exception becomes an answer
        problem = _problem(error)
        if not isinstance(error, MillworkError):
            traceback.print_exc(file=sys.stderr)
        return Answer(ok=False, error=problem)


def find(step: str, extra: Path | None = None) -> tuple[Step, type]:
    """The function that ``step`` (``module:function``) names, and the Struct that it takes.

    Raises :class:`InternalError` for a module outside millwork, or a name that isn't a public function of one
    Struct: a step is ours to name, so a wrong one is our bug.
    """
    module_name, _, name = step.partition(":")
    if not _allowed(module_name, extra) or not name.isidentifier() or name.startswith("_"):
        raise InternalError(f"{step!r} isn't a step: expected millwork.MODULE:FUNCTION")
    try:
        function = getattr(importlib.import_module(module_name), name)
    except (ModuleNotFoundError, AttributeError) as error:
        raise InternalError(f"there is no step {step!r}: {error}") from error
    if not isinstance(function, FunctionType) or not _allowed(function.__module__, extra):
        raise InternalError(f"{step!r} isn't a step: expected a function of millwork's own")
    hints = get_type_hints(function)
    taken = [kind for parameter, kind in hints.items() if parameter != "return"]
    if len(taken) != 1 or not (isinstance(taken[0], type) and issubclass(taken[0], msgspec.Struct)):
        raise InternalError(f"{step!r} isn't a step: expected one parameter, annotated with a Struct")
    return function, taken[0]


def _allowed(module: str, extra: Path | None) -> bool:
    parts = module.split(".")
    if not all(part.isidentifier() for part in parts):
        return False
    ours = parts[0] == __name__.partition(".")[0] and len(parts) > 1
    return ours or (extra is not None and len(parts) == 1 and (extra / f"{module}.py").is_file())


def _read(call: bytes) -> Call:
    try:
        return wire.decode(call, Call)
    except msgspec.DecodeError as error:
        raise UsageError(f'expected {{"step": …, "request": …}} as JSON: {error}') from error


def _request(asked: Call, kind: type) -> object:
    try:
        return wire.decode(bytes(asked.request), kind)
    except msgspec.DecodeError as error:
        raise UsageError(f"{asked.step} expects a {kind.__name__} as its request: {error}") from error


def _problem(raised: Exception) -> Problem:
    error = machine.blame(raised, [Path.cwd()])  # what stops the run with a plain message, whichever candidate it met
    if isinstance(error, MillworkError):
        return Problem(type(error).__name__, error.message[:LONGEST_MESSAGE], error.hint)
    return Problem(type(error).__name__, str(error)[:LONGEST_MESSAGE])
