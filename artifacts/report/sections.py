"""What the page and the Markdown say, apart from how they look: facts, next steps, passes told once."""

from __future__ import annotations

import shlex
from pathlib import PurePath

from ... import units
from ...triton import install
from ...values import ModelSummary, PassNote, Publication, Record, Value
from . import text

MEANINGS = {
    "probability": "probabilities, the framework's predict_proba",
    "margin": "raw margins, before any transform",
    "value": "the framework's predict",
    "label": "the number of the predicted class",
}


CLIENT_FILE = "client.py"
"""Beside the report: a program that asks what was published (:mod:`millwork.artifacts.client`)."""
GRPC, HTTP = "grpc://127.0.0.1:8001", "http://127.0.0.1:8000"
PORTS = ("--grpc-port 8001", "--http-port 8000")
"""Triton's own, so that the commands fit each other."""


class Fact(Value):
    """A term, and what is true of it: one line each."""

    term: str
    lines: tuple[str, ...]


class Command(Value):
    """A command to run next, and what it is for. ``words`` are quoted for a shell, an option with its value."""

    purpose: str
    words: tuple[str, ...]

    @property
    def line(self) -> str:
        return " ".join(self.words)


class PassGroup(Value):
    """Candidates that went through the same passes."""

    candidates: tuple[str, ...]
    passes: tuple[PassNote, ...]


def facts(record: Record) -> tuple[Fact, ...]:
    """What was judged, by what, on what."""
    model = record.model
    wrote = f"{model.framework} {model.framework_version}".strip()
    sizes = (
        *((_count(model.trees, "tree"),) if model.trees else ()),
        _count(len(model.features) + len(model.categories), "feature"),
        _count(len(model.outputs), "output"),
    )
    judge = f"{model.framework} {model.oracle_version}".strip()
    found = [
        Fact(term="Model", lines=(f"{wrote}, {model.objective}: {', '.join(sizes)}", *filter(None, (model.path,)))),
        Fact(term="Judged by", lines=(f"{judge} itself, in its own process",)),
        *_parity_facts(record),
        Fact(term="Target", lines=(record.target.name, _measured(record))),
    ]
    if record.tuning is not None:
        found.append(Fact(term="Triton", lines=(f"configuration written for release {record.tuning.triton}",)))
    if record.publication is not None:
        published = record.publication
        asked = (
            f"golden rows were sent to {published.server or 'a real Triton'} after the commit, and the answers agree"
        )
        found.append(
            Fact(
                term="Published",
                lines=(
                    f"{published.repository}, {published.name}, version {published.version}",
                    asked if published.verified else "not verified: no server was asked",
                ),
            )
        )
    return tuple(found)


def client_file(record: Record, run_dir: str = "") -> str:
    """Where the client lies that was written for what was chosen; empty where nothing was. ``run_dir``: its path as it
    is typed, if shorter."""
    folder = run_dir or record.run_dir
    return str(PurePath(folder) / CLIENT_FILE) if record.example is not None and folder else ""


def commands(record: Record, repository: str = "", run_dir: str = "") -> tuple[Command, ...]:
    """What one would do next with a published version. ``repository`` and ``run_dir``: their paths as they are typed,
    if shorter."""
    if record.publication is None:
        return ()
    client = client_file(record, run_dir)
    folder = shlex.quote(repository or record.publication.repository)
    where = (f"--repository {folder}", f"--name {shlex.quote(record.publication.name)}")
    winner = record.winner.id if record.winner is not None else ""
    managed = "://" not in record.publication.repository and any(
        candidate.served_by in install.backends() for candidate in record.candidates if candidate.id == winner
    )
    rows = "rows.parquet" if record.model.categories else "rows.npy"  # which holds numbers only
    files = (f"--input {rows}", "--output answers.npy")
    return (
        # a configuration for a backend that the managed server lacks is for the user's own
        *((Command(purpose="serve it", words=("millwork triton serve", *where, *PORTS)),) if managed else ()),
        *(
            (Command(purpose="ask it", words=(f"python {shlex.quote(client)}", _asked_at(record.publication))),)
            if client
            else ()
        ),
        Command(purpose="predict", words=("millwork predict", *where, *files)),
        *(
            (Command(purpose="roll back", words=("millwork rollback", *where)),)
            if record.publication.version > 1
            else ()
        ),
    )


def _asked_at(published: Publication) -> str:
    """The server that verified it, where that one runs; else where ``triton serve`` puts it."""
    address = published.server.rpartition(" at ")[2]
    return shlex.quote(address) if address.startswith("grpc") else GRPC


def pass_groups(record: Record) -> tuple[PassGroup, ...]:
    """The passes of each candidate that had any, those with the same ones together."""
    groups: dict[tuple[PassNote, ...], list[str]] = {}
    for candidate in record.candidates:
        if candidate.passes:
            groups.setdefault(candidate.passes, []).append(candidate.id)
    return tuple(PassGroup(candidates=tuple(ids), passes=passes) for passes, ids in groups.items())


def tensors(record: Record) -> tuple[Fact, ...]:
    """What a client sends and gets, whoever won."""
    model = record.model
    meaning = MEANINGS.get(model.output_kind or "", "")
    lacking = Fact(term="missing", lines=_missing(model))
    numbers = Fact(term="input__0", lines=(f"FP32 [{len(model.features)}], the features below in this order",))
    kind = "INT64" if model.category_dtype == "int64" else "BYTES"
    words = Fact(term="input__1", lines=(f"{kind} [{len(model.categories)}]: {', '.join(model.categories)}",))
    return (
        *((numbers,) if model.features else ()),
        *((words,) if model.categories else ()),
        Fact(
            term="output__0",
            lines=(
                f"FP32 [{len(model.outputs)}]{f': {meaning}' if meaning else ''}",
                f"in this order: {', '.join(model.outputs)}",
            ),
        ),
        lacking,
    )


def _missing(model: ModelSummary) -> tuple[str, ...]:
    """How a client says that a value is missing."""
    sentinel = f", or as {units.exact(model.missing)}" if model.missing is not None else ""
    numbers = (
        f"a number is sent as NaN{sentinel}",
        "in JSON that is the bare word NaN, which Triton reads although JSON has none; it refuses null",
    )
    words = ("a category: NO_CATEGORY in client.py says what stands for it, if anything does",)
    return (*(numbers if model.features else ()), *(words if model.categories else ()))


def versions(record: Record) -> tuple[Fact, ...]:
    """What it takes to do the same again."""
    model, published = record.model, record.publication
    listed = {
        "millwork": record.millwork,
        f"{model.framework} that wrote the model": model.framework_version,
        f"{model.framework} that judged": model.oracle_version,
        "Triton of the configuration": record.tuning.triton if record.tuning else "",
        "Triton that verified": published.server if published and published.verified else "",
        "model sha256": model.sha256,
        "manifest sha256": published.manifest_sha256 if published else "",
        "run directory": record.run_dir,
    }
    return tuple(Fact(term=term, lines=(value,)) for term, value in listed.items() if value)


def _parity_facts(record: Record) -> list[Fact]:
    parities = [candidate.parity for candidate in record.candidates if candidate.parity is not None]
    if not parities:
        return []
    rows = max(parity.rows for parity in parities)
    coverage = next((parity.coverage for parity in parities if parity.coverage), "")
    allowed: dict[str, list[str]] = {}
    for candidate in record.candidates:
        if candidate.parity is not None and candidate.parity.tolerance:
            allowed.setdefault(candidate.parity.tolerance, []).append(candidate.id)
    tolerance = [f"{', '.join(ids)}: {words}" if len(allowed) > 1 else words for words, ids in allowed.items()]
    found = [Fact(term="Compared on", lines=(f"{text.whole(rows)} rows", *((coverage,) if coverage else ())))]
    return [*found, Fact(term="Tolerance", lines=tuple(tolerance))] if tolerance else found


def _measured(record: Record) -> str:
    where = f"measured on {record.target.measured_on}"
    return where if record.target.is_target else f"{where}, which is NOT the target"


def _count(number: int, what: str) -> str:
    return f"{number:,} {what}{'' if number == 1 else 's'}"
