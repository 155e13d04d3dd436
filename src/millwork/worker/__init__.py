"""One step, one process: a crash, an out-of-memory kill or a hang in a native library is one failed step.

:func:`run` runs a step of millwork's own, JSON in and JSON out. :func:`run_script` runs a standalone script, for an
interpreter that has its own packages and not ours. Both are supervised in the same way: see :mod:`.process`.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec

from ..errors import TargetError
from ..step_protocol import Answer, Call
from ..storage import wire
from ..storage.files import excess
from . import variables
from .confinement import NO_SANDBOX, USUAL_SANDBOX, Sandbox, is_path, paths_in, variables_of
from .outcome import Done, Failure, Kind, blamed, excessive, failure, raised
from .process import MOST_MEMORY, USUAL, Ending, Limits, supervise
from .start import LARGEST_FILE

__all__ = [
    "MOST_MEMORY",
    "NO_SANDBOX",
    "USUAL",
    "USUAL_SANDBOX",
    "Done",
    "Failure",
    "Kind",
    "Limits",
    "Sandbox",
    "read_reply",
    "run",
    "run_script",
]

R = TypeVar("R")

START = Path(__file__).with_name("start.py")

THREAD_VARIABLES = (
    "OMP_NUM_THREADS",
    "OPENBLAS_NUM_THREADS",
    "MKL_NUM_THREADS",
    "NUMEXPR_NUM_THREADS",
)


def run(
    step: str,
    request: msgspec.Struct,
    reply: type[R],
    *,
    folder: Path,
    limits: Limits = USUAL,
    threads: int | None = None,
    sandbox: Sandbox = USUAL_SANDBOX,
    extra_path: Path | None = None,
) -> Done[R] | Failure:
    """Run ``step`` (``millwork.MODULE:FUNCTION``, one Struct in, one out) in a process of its own.

    The process works in ``folder``, so paths in ``request`` are absolute; what it prints is in
    ``folder/FUNCTION.log``, whose first line repeats the call for ``millwork worker``. ``threads`` sets the thread
    variables of OpenMP and the BLAS libraries, which are else as they were. In its ``sandbox`` it may read the paths
    that ``request`` has in fields of type :data:`FilePath`, write to ``folder``, and start and reach nothing else (see
    :mod:`.sandbox`); of our variables it has those that :mod:`.variables` lists. ``extra_path``: a folder whose
    top-level modules may be steps too.

    Raises ``OSError`` where ``folder`` can't be written, :class:`TargetError` where the kernel has no sandbox.
    """
    call = wire.encode(Call(step, msgspec.Raw(wire.encode(request))))
    extra = [] if extra_path is None else [str(extra_path.resolve())]

    def once() -> Done[R] | Failure:
        ending = supervise(
            [sys.executable, str(START), str(os.getpid()), "step", *extra],
            stdin=call,
            log=folder.resolve() / f"{step.rpartition(':')[2]}.log",
            heading=f"millwork worker <<< {call.decode()}",
            environment=_environment(threads, confined=sandbox.on)
            | variables_of(sandbox, folder, [*extra, *paths_in(request)]),
            limits=limits,
        )
        return _fit(_reply(ending, reply), ending, folder)

    return _again(once)


def run_script(
    script: Path,
    arguments: Sequence[str],
    *,
    python: str,
    folder: Path,
    limits: Limits = USUAL,
    threads: int | None = None,
    sandbox: Sandbox = USUAL_SANDBOX,
) -> Done[bytes] | Failure:
    """Run a standalone Python script by the interpreter ``python``, which needs nothing of ours installed.

    The script writes its reply, bytes of its own choice, to the file descriptor whose number is in the environment
    variable MILLWORK_REPLY_FD. It runs isolated (``python -I``): no PYTHONPATH, no user site. It works in ``folder``;
    what it prints is in ``folder/SCRIPT.log``. An exception that it doesn't catch is a failure of kind "error".
    In its ``sandbox`` it may read the script's folder and the arguments that are paths.

    Raises as :func:`run` does, and :class:`TargetError` where ``python`` isn't there.
    """
    work = [str(script.resolve()), *arguments]

    def once() -> Done[bytes] | Failure:
        ending = supervise(
            [_interpreter(python), "-I", "-X", "faulthandler", str(START), str(os.getpid()), "script", *work],
            stdin=b"",
            log=folder.resolve() / f"{script.stem}.log",
            heading=" ".join([python, *work]),
            environment=_environment(threads, confined=sandbox.on)
            | variables_of(sandbox, folder, [str(script.resolve().parent), *filter(is_path, arguments)]),
            limits=limits,
        )
        if ending.status == 0 and not ending.stopped:
            return _fit(Done(value=ending.reply, seconds=ending.seconds, peak_bytes=ending.peak_bytes), ending, folder)
        return blamed(_uncaught(ending) or failure(ending), ending)

    return _again(once)


def _again(once: Callable[[], Done[R] | Failure]) -> Done[R] | Failure:
    """A step's outcome; where somebody else killed it (an operator, the kernel for another's want of memory), the
    outcome of a second try."""
    outcome = once()
    return once() if isinstance(outcome, Failure) and outcome.from_outside else outcome


def read_reply(done: Done[bytes], kind: type[R]) -> R | Failure:
    """A script's reply, read as JSON of ``kind``; a failure of its where it isn't that."""
    try:
        return wire.decode(done.value, kind)
    except msgspec.DecodeError as error:
        return Failure(kind="error", message=f"the reply isn't a {kind.__name__}: {error}", seconds=done.seconds)


def _fit(outcome: Done[R] | Failure, ending: Ending, folder: Path) -> Done[R] | Failure:
    """A step that left more in its folder than can be read and hashed has failed."""
    if isinstance(outcome, Failure):
        return blamed(outcome, ending)
    left = excess(folder, LARGEST_FILE)
    return excessive(ending, left) if left else outcome


def _reply(ending: Ending, kind: type[R]) -> Done[R] | Failure:
    """The step's answer, read as ``kind``."""
    if ending.status != 0 or ending.stopped or not ending.reply:
        return _uncaught(ending) or failure(ending)
    try:
        answer = wire.decode(ending.reply, Answer)
        if answer.error is not None:
            return raised(ending, answer.error.type, answer.error.message, answer.error.hint)
        value = wire.decode(bytes(answer.reply), kind)
    except msgspec.DecodeError as error:
        return raised(ending, type(error).__name__, f"the reply isn't a {kind.__name__}: {error}")
    return Done(value=value, seconds=ending.seconds, peak_bytes=ending.peak_bytes)


def _uncaught(ending: Ending) -> Failure | None:
    """The exception that ended the interpreter: it then exits with 1, and the log's last line is the exception."""
    if ending.status != 1 or ending.stopped or "Traceback (most recent call last)" not in ending.log_tail:
        return None
    name, _, message = ending.log_tail.rstrip().splitlines()[-1].partition(": ")
    return raised(ending, name, message)


def _interpreter(python: str) -> str:
    found = shutil.which(python)
    if found is None:
        raise TargetError(f"{python}: expected a Python interpreter here")
    return str(Path(found).absolute())


def _environment(threads: int | None, *, confined: bool) -> dict[str, str]:
    ours = {"PYTHONSAFEPATH": "1", "PYTHONFAULTHANDLER": "1", "PYTHONUNBUFFERED": "1"}
    unless_said = {"ORT_DISABLE_TELEMETRY": "1"}  # onnxruntime reports its use from 1.29 on
    counts = {} if threads is None else dict.fromkeys(THREAD_VARIABLES, str(threads))
    given = variables.for_confined(os.environ) if confined else os.environ
    return {**unless_said, **given, **ours, **counts}
