"""A .pt2 as plain tensors and a graph, or refused: what ``torch.export.load`` would unpickle never gets there.

The format is called safe, and mostly is: weights are raw bytes and the graph is JSON. But torch (2.13,
``torch/export/pt2_archive/_package.py``) unpickles, without limits, weights and constants that are marked so, script
and opaque objects, the sample inputs, and the constants of an older layout; and expressions of sizes are evaluated as
Python by sympy. So an archive is copied member by member: what is raw is taken, the sample inputs are left out, and
all else is a refusal by name. What loads the copy runs in the sandbox all the same.
"""

from __future__ import annotations

import io
import re
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any

import msgspec

from ....errors import ModelError
from ....values import Value
from . import model_card as cards
from .model_card import Card

MOST_MEMBERS = 100_000
EXPANSION = 250
FLOOR = 1 << 30
LARGEST = 16 << 30
"""Bytes that an archive may hold once unpacked: 16 GiB, and 250 times its own size beyond 1 GiB."""
LONGEST_JSON = 256 << 20
DEEPEST = 200

SAVE = "Save it by torch.export.save, or by millwork.save_net."
_PLAIN = re.compile(r"archive_format|archive_version|byteorder|\.data/version|\.data/serialization_id|version")
_MODEL = re.compile(r"models/(\w{1,100})\.json")
_RAW = re.compile(r"data/(weights/weight|constants/tensor)_\d{1,9}")
_CONFIG = re.compile(r"data/(weights|constants)/\w{1,100}_(weights|constants)_config\.json")
_SAMPLES = re.compile(r"data/sample_inputs/\w{1,100}\.pt")
_EXPRESSION = re.compile(r"[A-Za-z0-9_'+\-*/%(),. <>=!&|~]{0,2000}")
_WORD, _SYMBOL = re.compile(r"[A-Za-z_]\w*"), re.compile(r"[a-z]{1,4}\d{1,6}")
_WORDS = frozenset(
    [
        "Symbol",
        "positive",
        "nonnegative",
        "integer",
        "real",
        "True",
        "False",
        "Integer",
        "Rational",
        "Add",
        "Mul",
        "Pow",
        "Max",
        "Min",
        "Mod",
        "PythonMod",
        "FloorDiv",
        "CleanDiv",
        "CeilDiv",
        "CeilToInt",
        "FloorToInt",
        "TruncToInt",
        "ToFloat",
        "IntTrueDiv",
        "ModularIndexing",
        "Where",
        "Identity",
        "Eq",
        "Ne",
        "Lt",
        "Le",
        "Gt",
        "Ge",
        "And",
        "Or",
        "Not",
        "Equality",
        "Unequality",
        "StrictLessThan",
        "LessThan",
        "StrictGreaterThan",
        "GreaterThan",
    ]
)
"""What a size is made of: torch's and sympy's arithmetic on symbols (``Max(1, Symbol('s0', integer=True))``)."""
_UNREADABLE = (zipfile.BadZipFile, zlib.error, ValueError, OSError, EOFError, RuntimeError, NotImplementedError,
               KeyError, RecursionError)  # fmt: skip


class Archive(Value):
    """``content``: a .pt2 of the same net in which nothing is pickled. ``version``: the torch that wrote it."""

    content: bytes
    card: Card
    version: str


def read(content: bytes) -> Archive:
    """ModelError, with the member's name, for what isn't a .pt2 of one net made of plain tensors."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            return _read(archive, len(content))
    except _UNREADABLE as error:
        raise ModelError(
            f"not a readable .pt2: {_first(error)}", "The file may have been cut short: copy it again."
        ) from error


def _read(archive: zipfile.ZipFile, size: int) -> Archive:
    members = _members(archive, size)
    if ".data/extern_modules" in members:
        raise ModelError("a torch.package archive, which is code with its weights, and isn't read", SAVE)
    models = [name for name in members if _MODEL.fullmatch(name)]
    if len(models) != 1:
        raise ModelError(f"this .pt2 holds {len(models)} nets; expected one", SAVE)
    out, card = io.BytesIO(), Card()
    document: dict[str, Any] = {}
    with zipfile.ZipFile(out, "w") as copy:
        for name, member in members.items():
            if name.startswith("extra/"):
                if name == f"extra/{cards.CARD_FILE}":
                    card = cards.parse(archive.read(member))
                continue
            _require_known(name)
            taken = b"" if _SAMPLES.fullmatch(name) else archive.read(member)
            if _CONFIG.fullmatch(name):
                _require_raw(name, taken)
            elif name == models[0]:
                document = _graph(name, taken)
            copy.writestr(f"net/{name}", taken)
    return Archive(content=out.getvalue(), card=card, version=str(document.get("torch_version", ""))[:40])


def _members(archive: zipfile.ZipFile, size: int) -> dict[str, zipfile.ZipInfo]:
    """By name, without the folder that all of them lie in."""
    found = archive.infolist()
    if len(found) > MOST_MEMBERS:
        raise ModelError(f"this .pt2 has {len(found):,} members; at most {MOST_MEMBERS:,} are read")
    unpacked, limit = sum(member.file_size for member in found), min(LARGEST, max(FLOOR, EXPANSION * size))
    if unpacked > limit:
        raise ModelError(f"this .pt2 of {size:,} bytes unpacks to {unpacked:,}; at most {limit:,} are read")
    folder = found[0].filename.partition("/")[0] if found else ""
    members: dict[str, zipfile.ZipInfo] = {}
    for member in found:
        name = member.filename.removeprefix(f"{folder}/")
        if name in members or name == member.filename:
            raise ModelError(f"this .pt2 has an unexpected member {member.filename[:200]!r}", SAVE)
        members[name] = member
    return members


def _require_known(name: str) -> None:
    if any(known.fullmatch(name) for known in (_PLAIN, _MODEL, _RAW, _CONFIG, _SAMPLES)):
        return
    raise ModelError(
        f"this .pt2 holds {name[:200]!r}, which isn't a plain tensor or a graph: reading it could run code",
        f"{SAVE} Script objects, opaque objects and AOTInductor's packages aren't read.",
    )


def _require_raw(name: str, content: bytes) -> None:
    """Each payload of the table is a file of raw bytes, and not a pickle."""
    document = _json(name, content)
    payloads = document.get("config") if isinstance(document, dict) else None
    if not isinstance(payloads, dict) or not all(isinstance(payload, dict) for payload in payloads.values()):
        raise ModelError(f"{name} isn't a table of tensors", SAVE)
    prefix = "data/weights/" if name.startswith("data/weights/") else "data/constants/"
    for key, payload in payloads.items():
        path = payload.get("path_name")
        if payload.get("use_pickle") is not False or not isinstance(path, str) or not _RAW.fullmatch(prefix + path):
            raise ModelError(
                f"the tensor {str(key)[:200]!r} is a pickle in this .pt2: reading it could run code",
                "Save a module of plain tensors on the CPU.",
            )


def _graph(name: str, content: bytes) -> dict[str, Any]:
    document = _json(name, content)
    if not isinstance(document, dict) or "graph_module" not in document:
        raise ModelError(f"{name} isn't an exported program", SAVE)
    for expression in _expressions(document):
        if not _arithmetic(expression):
            raise ModelError(
                f"{name} has a size {expression[:80]!r}, which isn't arithmetic: torch would run it as code"
            )
    return document


def _arithmetic(expression: str) -> bool:
    known = all(word in _WORDS or _SYMBOL.fullmatch(word) for word in _WORD.findall(expression))
    return known and _EXPRESSION.fullmatch(expression) is not None


def _expressions(value: Any) -> Iterator[str]:
    """All texts under a key ``expr_str``, which is what torch gives to sympy."""
    pending = [(value, 0)]
    while pending:
        found, depth = pending.pop()
        if depth > DEEPEST:
            raise ModelError("the graph is nested too deeply")
        if isinstance(found, dict):
            for key, inner in found.items():
                if key == "expr_str":
                    yield str(inner)
                pending.append((inner, depth + 1))
        elif isinstance(found, list):
            pending += [(inner, depth + 1) for inner in found]


def _json(name: str, content: bytes) -> Any:
    if len(content) > LONGEST_JSON:
        raise ModelError(f"{name} has {len(content):,} bytes; at most {LONGEST_JSON:,} are read")
    try:
        return msgspec.json.decode(content)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"{name} isn't JSON: {error}", "The file may be damaged: copy it again.") from error


def _first(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0][:300]
