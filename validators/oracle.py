"""The oracle: the framework itself, at the version that wrote the model, in a process of its own.

Where that version isn't the one installed here, an environment of its own is made for it. Where that can't be made,
the model is refused; a newer installed version judges in its place only where the user said so (``--trust``), and an
older one never does.
"""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable
from pathlib import Path

from .. import environments, worker
from ..compile.frontends.loaded_model import Oracle, Signature
from ..compile.runners import load as runners
from ..compile.runners.load import installed, numbers
from ..errors import ModelError, TargetError
from ..storage import archives, opening, wire
from ..storage.frames import FRAME_FILE
from ..values import Value
from ..worker import Limits

ANSWERS_FILE, LEAVES_FILE, TOLD_FILE = "answers.npy", "leaves.npy", "told.json"
LARGEST_TOLD = 16 << 20
LONGEST_VERSION = 100


class Interpreter(Value):
    """Which Python asks the framework, and which version of it that has. ``note``: what a reader should know."""

    python: str
    version: str
    note: str = ""


class AsFrame(Value):
    """The user's rows as a data frame, asked of the framework beside what was made of them: on how many ``rows`` it
    answers otherwise, for the ``column`` of this ``kind``; ``error``: it refuses the frame."""

    rows: int = 0
    column: str = ""
    kind: str = ""
    error: str = ""


class Told(Value):
    """What the framework says beside its answers: ``labels`` of its classes, where it names any."""

    labels: tuple[str, ...] = ()
    frame: AsFrame = AsFrame()


class Asked(Value):
    """Beside it: ``answers.npy`` float32 [N, K] and ``leaves.npy`` int32 [N, T], the framework's own numbers.
    ``width``: K."""

    version: str
    width: int
    told: Told


def interpreter(oracle: Oracle, announce: Callable[[str], None], *, trust: bool = False) -> Interpreter:
    """The Python that has the framework at the recorded version, made where there is none. TargetError if none can.

    ``trust``: where none can, a newer version that is installed will do.
    """
    here = installed(oracle.framework)
    if here is not None and (here == oracle.version or not oracle.version):
        return Interpreter(python=sys.executable, version=here)
    try:
        needed = (
            [runners.requirement(oracle.framework, oracle.version), *_companions(oracle)] if oracle.version else None
        )
        if needed is None:
            raise TargetError(f"{oracle.framework} isn't installed", f"pip install 'millwork[{oracle.framework}]'")
        made = environments.ensure(f"oracle-{oracle.framework}", needed, announce)
        return Interpreter(python=str(made.python), version=oracle.version)
    except TargetError as error:
        newer = here is not None and numbers(here) >= numbers(oracle.version)
        if here is None or not newer or not trust:
            raise TargetError(
                f"the model was written by {oracle.framework} {oracle.version}, but an environment with it can't be "
                f"made: {error.message}",
                f"pip install {runners.requirement(oracle.framework, oracle.version)}"
                + (f", or give --trust to let the installed {here} judge." if newer else ""),
            ) from error
        note = (
            f"judged by {oracle.framework} {here}, not by {oracle.version}, which wrote the model: "
            f"an environment with {oracle.version} can't be made ({error.message})"
        )
        return Interpreter(python=sys.executable, version=here, note=note)


def ask(
    oracle: Oracle,
    native: Path,
    rows: Path,
    categories: Path | None,
    folder: Path,
    python: str,
    limits: Limits,
    *,
    confined: bool = True,
) -> Asked:
    """The framework's answers and leaves for ``rows`` (.npy, float32 [N, F]) and ``categories`` ([N, C]), written into
    ``folder``; a frame of the user's rows lies beside ``rows``, if there is one.

    ModelError where the framework crashes, hangs or refuses: then there is nothing to compare with.
    """
    frame = rows.with_name(FRAME_FILE)
    request = {
        "runner": str(runners.source(f"{oracle.framework}_runner")),
        "model_file": str(native),
        "parameters": oracle.parameters,
        "rows": str(rows),
        "categories": "" if categories is None else str(categories),
        "frame": str(frame) if frame.is_file() else "",
        "folder": str(folder),
        "threads": 2,
    }
    (folder / "request.json").write_text(json.dumps(request))
    beside = [path for path in (categories, frame) if path is not None and path.is_file()]
    reads = (native, rows, runners.source(f"{oracle.framework}_runner"), *beside)
    done = worker.run_script(
        Path(runners.source("ask")),
        [str(folder / "request.json")],
        python=python,
        folder=folder,
        limits=limits,
        sandbox=worker.Sandbox(reads=reads, on=confined),
    )
    with contextlib.suppress(OSError):  # the process may have done anything to it
        (folder / "request.json").unlink()
    who = f"{oracle.framework} itself, asked to predict with the model,"
    if isinstance(done, worker.Failure):
        done.raise_(ModelError, who)
    return _left(done.value, folder, who)


def _left(reply: bytes, folder: Path, who: str) -> Asked:
    """What it replied with and left. ModelError where that isn't a version, or its files can't be read."""
    try:
        version = reply.decode("ascii")
    except UnicodeDecodeError:
        version = ""
    if not version.isprintable() or not 0 < len(version) <= LONGEST_VERSION:
        raise ModelError(f"{who} didn't reply with its version.")
    shapes = []
    for name in (ANSWERS_FILE, LEAVES_FILE):
        try:
            shapes.append(archives.described(folder / name)[0])
        except archives.UNREADABLE as error:
            raise ModelError(f"{who} didn't write a readable {name}: {archives.reason(error)}") from error
    if len(shapes[0]) != 2:
        raise ModelError(f"{who} gave answers of shape {list(shapes[0])[:5]}, not a row for each row.")
    return Asked(version=version, width=shapes[0][1], told=_told(folder / TOLD_FILE, who))


def _told(path: Path, who: str) -> Told:
    try:
        with opening.opened(path) as file:
            told = wire.decode(file.read(LARGEST_TOLD), Told)
        path.unlink()
    except (OSError, ValueError) as error:
        raise ModelError(f"{who} didn't write a readable {path.name}.") from error
    return told


def require_as_read(asked: Asked, signature: Signature, data: str) -> None:
    """ModelError where the framework's answers aren't what the model was read as: another number of them, other names
    of classes; or where it makes something else of the rows in ``data`` than millwork does."""
    who, output, labels = signature.oracle.framework, signature.output, asked.told.labels
    if asked.width != len(output.labels):
        raise ModelError(
            f"{signature.provenance.path}: {who} itself gives {asked.width} answers a row, but the model was read as "
            f"one of {len(output.labels)} ({', '.join(output.labels[:8])})",
            REPORT,
        )
    own = output.classes or (output.labels if output.kind == "probability" else ())
    if own and len(labels) == len(own) and labels != own:
        raise ModelError(
            f"{signature.provenance.path}: {who} itself calls its classes {', '.join(labels[:8])}, but the model was "
            f"read as one of {', '.join(own[:8])}",
            REPORT,
        )
    frame = asked.told.frame
    if frame.rows:
        raise ModelError(
            f"{data}: {who} takes the column {frame.column!r} ({frame.kind}) for other values than millwork does: "
            f"it answers {frame.rows:,} rows otherwise when it is given the file's own types",
            "Write that column as text or as integers, as the model was trained on it.",
        )


REPORT = "millwork reads such a model wrongly: please report it with the model."


def _companions(oracle: Oracle) -> list[str]:
    """Old frameworks were built against numpy 1."""
    old = (oracle.framework == "xgboost" and numbers(oracle.version) < (2, 1)) or (
        oracle.framework == "catboost" and numbers(oracle.version) < (1, 2, 7)
    )
    # A data frame is how XGBoost is given categories of its own.
    frames = ["pandas"] if oracle.framework == "xgboost" and "columns" in oracle.parameters else []
    return ["numpy<2" if old else "numpy", *frames]
