"""A file of weights -> its tensors by name, and no code of it is run.

What ``torch.save`` writes (a zip, or its older format) is read by ``torch.load(weights_only=True)``. A checkpoint may
hold other things beside the weights (a Lightning .ckpt has its callbacks and hyper-parameters): a class that torch
doesn't know is an inert stub then (:mod:`.inert_pickle`). safetensors is raw bytes behind a table in JSON. TabNet's
.zip holds what ``torch.save`` wrote. TorchScript, torch.package and pickled modules are refused by name.
"""

from __future__ import annotations

import io
import math
import re
import warnings
import zipfile
from collections.abc import Iterable, Iterator
from typing import Any, TypeGuard

import msgspec
import torch

from ....errors import ModelError
from ....values import Value
from . import inert_pickle

SAVE = "Save torch.save(net.state_dict(), path), or better the whole net by millwork.save_net or torch.export.save."
NESTED = ("state_dict", "model_state_dict")
"""Where checkpoints have the weights, by custom; the first that is there is taken."""
AVERAGED = "n_averaged"
"""What torch.optim.swa_utils.AveragedModel counts in."""
LARGEST_INNER = 4 << 30
LONGEST_HEADER = 100 << 20
_GLOBAL = re.compile(r"(?:GLOBAL|class|function) ([\w.]{1,200})")
_RAW = re.compile(r"data\.pkl|data/\d{1,9}|byteorder|version|\.format_version|\.storage_alignment")
_ZIP, _TABNET = b"PK\x03\x04", "network.pt"
_SAFETENSORS = {
    "F64": torch.float64,
    "F32": torch.float32,
    "F16": torch.float16,
    "BF16": torch.bfloat16,
    "I64": torch.int64,
    "I32": torch.int32,
    "I16": torch.int16,
    "I8": torch.int8,
    "U8": torch.uint8,
    "BOOL": torch.bool,
}


class State(Value):
    """``tensors``: by name. ``notes``: what was left out of the file."""

    tensors: dict[str, Any]
    notes: tuple[str, ...] = ()


def read(content: bytes) -> State:
    """ModelError for a file that holds no state dict, or more than one."""
    if content[8:9] == b"{" and not content.startswith(_ZIP):
        return State(tensors=_safetensors(content))
    if content.startswith(_ZIP):
        content = _of_zip(content)
    return _state(_loaded(content))


def _of_zip(content: bytes) -> bytes:
    """What torch.load is to read."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            names = archive.namelist()
            if _TABNET in names:
                if archive.getinfo(_TABNET).file_size > LARGEST_INNER:
                    raise ModelError(f"{_TABNET} in this .zip unpacks to more than 4 GiB")
                return archive.read(_TABNET)
    except (zipfile.BadZipFile, OSError, ValueError, EOFError, RuntimeError, NotImplementedError) as error:
        raise ModelError(f"not a readable zip: {error}", "The file may have been cut short: copy it again.") from error
    members = {name.partition("/")[2] for name in names}
    if "constants.pkl" in members or "bytecode.pkl" in members:
        raise ModelError(
            "a TorchScript file (torch.jit.save), which is code with its weights, and isn't read",
            'Take the weights out: torch.save(torch.jit.load(path).state_dict(), "weights.pt"), and name the function '
            "that makes the module by --module. Or export the module by millwork.save_net.",
        )
    if any("extern_modules" in name for name in members):
        raise ModelError("a torch.package archive, which is code with its weights, and isn't read", SAVE)
    return content


def _loaded(content: bytes) -> Any:
    """Everything of the file that is plain data. Where all of it hangs on a foreign class, ModelError names that."""
    try:
        return torch.load(io.BytesIO(content), weights_only=True, map_location="cpu")
    except Exception as error:
        found = _among_others(content)
        if isinstance(found, dict):
            return found
        raise ModelError(
            f"not a state dict of plain tensors: {_held(error)}",
            f"A pickled module is not read, because reading it runs code. {SAVE}",
        ) from error


def _among_others(content: bytes) -> Any:
    """The same where torch's own reader stops at a class that it doesn't know; None where that doesn't help."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plain = _without_code(content) if content.startswith(_ZIP) else content
            return torch.load(io.BytesIO(plain), weights_only=False, map_location="cpu", pickle_module=inert_pickle)
    except Exception:  # noqa: BLE001 -- torch raises all kinds of things for a file that is damaged
        return None


def _without_code(content: bytes) -> bytes:
    """The zip's pickle and its raw tensors, and nothing else that torch.load may look for in it."""
    out = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as archive, zipfile.ZipFile(out, "w") as copy:
        for member in archive.infolist():
            name = member.filename.partition("/")[2]
            if _RAW.fullmatch(name):
                copy.writestr(f"archive/{name}", archive.read(member))
    return out.getvalue()


def _held(error: Exception | None) -> str:
    """What the file holds, in torch's words. Its first lines advise to read the file all the same."""
    named = _GLOBAL.search(str(error))
    return f"a pickle of {named[1]}" if named else "torch can't read it without running code that is in it"


def _state(found: Any) -> State:
    """The weights of a checkpoint: the dict itself, or the one of its members that is a state dict."""
    if not isinstance(found, dict) or not found:
        raise ModelError(f"the file holds {_kind(found)}, not a state dict", SAVE)
    if _is_state(found):
        return State(tensors=dict(found))
    inside = [str(name) for name, value in found.items() if isinstance(value, dict) and _is_state(value)]
    chosen = next((name for name in NESTED if name in inside), inside[0] if len(inside) == 1 else "")
    if not inside:
        odd = next((str(name) for name, value in found.items() if not isinstance(value, torch.Tensor)), "")
        raise ModelError(f"the file holds {_kind(found)}, not a state dict: {odd[:100]!r} isn't a tensor", SAVE)
    if not chosen:
        raise ModelError(
            f"the file holds {len(inside)} state dicts: {', '.join(inside[:8])}",
            f"Save the one that is to be served: torch.save(torch.load(path)[{inside[0]!r}], …).",
        )
    others = [name for name in inside if name != chosen]
    note = f"of the checkpoint, {chosen!r} is read, and not {', '.join(map(repr, others[:8]))}"
    return State(tensors=dict(found[chosen]), notes=(note,) if others else ())


def _is_state(found: dict[Any, Any]) -> bool:
    return bool(found) and all(isinstance(k, str) and isinstance(value, torch.Tensor) for k, value in found.items())


def _kind(found: Any) -> str:
    if isinstance(found, dict):
        keys = ", ".join(str(key)[:40] for key in list(found)[:8])
        return f"a dict of {keys}" if found else "an empty dict"
    return f"a {type(found).__name__}"


def _safetensors(content: bytes) -> dict[str, torch.Tensor]:
    """The format: 8 bytes little-endian, the header's length; the header, JSON; then the tensors' bytes."""
    size = int.from_bytes(content[:8], "little")
    if size > min(LONGEST_HEADER, len(content) - 8):
        raise ModelError("a safetensors file that was cut short", "Copy it again.")
    try:
        header = msgspec.json.decode(content[8 : 8 + size], type=dict[str, dict[str, Any]])
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise ModelError(f"the header of this safetensors file isn't one: {error}", "Copy the file again.") from error
    body = memoryview(bytearray(content[8 + size :]))
    found = {name: _raw(name, entry, body) for name, entry in header.items() if name != "__metadata__"}
    if not found:
        raise ModelError("the safetensors file holds no tensor", SAVE)
    return found


def _raw(name: str, entry: dict[str, Any], body: memoryview) -> torch.Tensor:
    kind = _SAFETENSORS.get(str(entry.get("dtype")))
    if kind is None:
        raise ModelError(
            f"{name[:200]!r} of this safetensors file is of type {str(entry.get('dtype'))[:20]}, which isn't read",
            f"These are: {', '.join(_SAFETENSORS)}.",
        )
    shape, ends = entry.get("shape"), entry.get("data_offsets")
    if not _whole(shape) or not _whole(ends) or len(ends) != 2:
        raise ModelError(f"{name[:200]!r} of this safetensors file has no shape or no place", "Copy the file again.")
    count = math.prod(shape)
    if ends[1] - ends[0] != count * kind.itemsize or ends[1] > len(body):
        raise ModelError(
            f"{name[:200]!r} of this safetensors file has {ends[1] - ends[0]:,} bytes for {shape} of {kind}, or lies "
            "beyond the file's end",
            "The file may have been cut short: copy it again.",
        )
    if not count:
        return torch.zeros(shape, dtype=kind)
    return torch.frombuffer(body[ends[0] : ends[1]], dtype=kind).reshape(shape).clone()


def _whole(value: Any) -> TypeGuard[list[int]]:
    return isinstance(value, list) and all(type(n) is int and n >= 0 for n in value)


def fitted(state: State, wanted: set[str]) -> State:
    """The tensors by the names of the module that they are for. torch.compile, DataParallel and Lightning put a prefix
    before all names; a wrapper of the user's around the net that was trained has one more than the file."""
    named, own = (
        {_plain(name): tensor for name, tensor in state.tensors.items()},
        {_plain(name): name for name in wanted},
    )
    if set(state.tensors) == wanted or len(named) != len(state.tensors) or len(own) != len(wanted):
        return state
    if set(named) - set(own) == {AVERAGED}:
        del named[AVERAGED]
    for tensors, note in _readings(named, set(own)):
        made = {own[name]: tensor for name, tensor in tensors.items()}
        return State(tensors=made, notes=(*state.notes, *([note] if note else [])))
    return state


def _readings(named: dict[str, Any], wanted: set[str]) -> Iterator[tuple[dict[str, Any], str]]:
    """What the names may mean, likeliest first: the tensors by the names that are wanted, and what was left out."""
    if set(named) == wanted:
        yield named, ""
        return
    fits = [
        prefix
        for prefix in _all_prefixes(named)
        if wanted == {name.removeprefix(prefix) for name in named if name.startswith(prefix)}
        and not (_is_layer(prefix) and len(named) > len(wanted))  # one layer of many is no whole net
    ]
    if len(fits) > 1:
        raise ModelError(
            f"the state dict holds the module's weights {len(fits)} times: under {', '.join(map(repr, fits[:8]))}",
            "Save the ones that are to be served under their own names.",
        )
    for prefix in fits:
        tensors = {name.removeprefix(prefix): named[name] for name in named if name.startswith(prefix)}
        left = [name for name in named if not name.startswith(prefix)]
        told = f"of the state dict only what is under {prefix!r} is read, and not {', '.join(left[:4])}"
        yield tensors, told + (", …" if len(left) > 4 else "") if left else ""
    for prefix in _all_prefixes(wanted):
        if {prefix + name for name in named} == wanted:
            yield {prefix + name: tensor for name, tensor in named.items()}, ""


def _is_layer(prefix: str) -> bool:
    """Whether it is a number's, as Sequential has them."""
    return prefix.rstrip(".").rpartition(".")[2].isdigit()


def _plain(name: str) -> str:
    """Without what torch.compile, DataParallel and DistributedDataParallel add."""
    plain = name.replace("_orig_mod.", "")
    while plain.startswith("module."):
        plain = plain.removeprefix("module.")
    return plain


def _all_prefixes(names: Iterable[str]) -> list[str]:
    parts = [name.split(".") for name in names]
    return sorted({".".join(part[:depth]) + "." for part in parts for depth in range(1, len(part))})
