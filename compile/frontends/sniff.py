"""Which format a model's file is in: by its first bytes, and by its extension only where those leave two choices."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Literal

from ...errors import ModelError
from . import model_file
from .pickles.streams import compression, head_of

Format = Literal["xgboost-json", "xgboost-ubj", "catboost-json", "catboost-cbm", "pickle", "torch-pt2", "torch-weights"]
"""``pickle`` is joblib's too, plain or compressed (zlib, gzip, bz2, xz, lzma, lz4). ``torch-weights``: what torch.save
writes, safetensors and TabNet's .zip, which are read as a state dict or not at all."""

_HEAD = 1 << 16
_READ = (
    "Formats read: XGBoost .json and .ubj (save_model), CatBoost .cbm and .json (save_model), "
    ".pkl or .joblib of an XGBoost or CatBoost estimator, torch's .pt2 (torch.export.save), "
    "and with --module a state dict (torch.save, .safetensors)."
)
_DIALECTS: dict[str, Format] = {
    # the members of the outermost object; "Config" and "Model": an XGBoost handle out of a pickle
    "learner": "xgboost-json",
    "version": "xgboost-json",
    "Config": "xgboost-json",
    "Model": "xgboost-json",
    "ctr_data": "catboost-json",
    "features_info": "catboost-json",
    "model_info": "catboost-json",
    "oblivious_trees": "catboost-json",
    "scale_and_bias": "catboost-json",
    "trees": "catboost-json",
}
_UBJSON = re.compile(rb"\{(?:[iU].|I..|l.{4}|L.{8})(learner|version|Config|Model)[{\[]", re.DOTALL)
_FIRST_KEY = re.compile(rb'\s*\{\s*"([^"\\]{1,200})"\s*:')
_TELLING_KEY = re.compile(rb'"(learner|features_info|oblivious_trees)"\s*:\s*[\[{]')
# protocols 2 to 5 say so; 0 and 1 begin with the name of what they build
_PICKLE = re.compile(rb"\x80[\x02-\x05]|ccopy_?reg\n_reconstructor\n|c(xgboost|catboost)[\w.]{0,100}\n")
_PICKLE_EXTENSIONS = frozenset({".pkl", ".pickle", ".joblib"})
_PICKLE_OPENINGS = b"(]}c"

_TORCH = re.compile(
    rb"PK\x03\x04.{22}.{4}[^/]{1,200}/(data/weights/|data/constants/|data/sample_inputs/|models/|extra/|archive_format|"
    rb"archive_version|byteorder|version|\.data/|data\.pkl|\.format_version|\.storage_alignment)",
    re.DOTALL,
)
"""The first member of a zip that torch wrote: of a .pt2, or of torch.save."""
_TORCH_LEGACY = re.compile(rb"\x80[\x02-\x05](?:\x95.{8})?\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19\.", re.DOTALL)
"""What torch.save wrote before it wrote zips: a pickled number."""
_TORCH_CODE = re.compile(rb"PK\x03\x04.{26}[^/]{1,200}/(data/\d|\.data/\d{1,9}\.storage)", re.DOTALL)
"""The first member of TorchScript's and torch.package's zips."""
_TABNET = re.compile(rb"PK\x03\x04.{26}(model_params\.json|network\.pt)", re.DOTALL)
"""TabNet's save_model."""
_SAFETENSORS = re.compile(rb".{5}\x00\x00\x00\{\s*(\"|\})", re.DOTALL)
"""Eight bytes of a length below 2^40, and the table of tensors."""

_EXPORT = "Export the module: torch.export.save, or millwork.save_net."
_REFUSED: tuple[tuple[re.Pattern[bytes], str, str], ...] = (
    (
        re.compile(rb"binf|bs64"),
        "an XGBoost model in the deprecated binary format, which XGBoost removed in 3.1",
        'Load it in XGBoost 3.0 or older and call save_model("model.json").',
    ),
    (
        re.compile(rb"booster\[\d+\]:"),
        "XGBoost's dump_model() text, which lacks what is needed to predict",
        'Save the model with save_model("model.json") instead.',
    ),
    (
        re.compile(rb'\s*\[\s*\{\s*"nodeid"'),
        "XGBoost's dump_model() JSON, which lacks what is needed to predict",
        'Save the model with save_model("model.json") instead.',
    ),
    (re.compile(rb"tree\r?\n(version|num_class)="), "a LightGBM model, which is not supported in this version", ""),
    (
        re.compile(rb"PK\x03\x04.{26}[^/]{0,200}/(constants\.pkl|code/)", re.DOTALL),
        "a TorchScript file, which is not supported: tracing and scripting are deprecated",
        _EXPORT,
    ),
    (re.compile(rb".{4}ET1\d", re.DOTALL), "an ExecuTorch program (.pte), which is not supported", _EXPORT),
    (re.compile(rb"PK\x03\x04"), "a zip archive (Keras, skops, NumPy), which is not supported", ""),
    (re.compile(rb"\x08[\x01-\x14](?:\x12.{1,64}|\x3a)", re.DOTALL), "an ONNX model, or another protobuf message", ""),
    (re.compile(rb"\x89HDF\r\n\x1a\n"), "an HDF5 file (Keras), which is not supported", ""),
    (re.compile(rb"\s*<"), "an XML or HTML document (PMML is not supported)", ""),
    (re.compile(rb"version https://git-lfs"), "a Git LFS pointer, not the model itself", "Fetch it with git lfs pull."),
)


def sniff(path: Path) -> Format:
    """The format of the model in ``path``, from its first 64 KiB.

    Raises ModelError, which names the file, what its first bytes look like and what is read, for a missing,
    unreadable, empty or too large file, a folder, a known format that isn't supported and an unknown one. A
    file that is truncated further on is found by its reader.
    """
    head = model_file.read_head(path, _HEAD)
    if _SAFETENSORS.match(head):  # its first bytes, a length, may be those of anything
        return "torch-weights"
    if compression(head[:16]) is not None:
        return _compressed(path, head)
    found = _of_content(head) or _of_extension(path, head)
    if found is not None:
        return found
    for pattern, what, hint in _REFUSED:
        if pattern.match(head):
            raise ModelError(f"{path}: {what}", hint or _READ)
    if head.lstrip(b"\xef\xbb\xbf \t\r\n")[:1] == b"{":
        raise ModelError(f"{path}: JSON or UBJSON, but not a model of XGBoost's or CatBoost's: {_look(head)}", _READ)
    raise ModelError(f"{path}: this isn't a model in a supported format: {_look(head)}", _READ)


def _of_content(head: bytes) -> Format | None:
    if head.startswith(b"CBM1"):
        return "catboost-cbm"
    if any(pattern.match(head) for pattern in (_TORCH_CODE, _TORCH_LEGACY, _TABNET)):
        return "torch-weights"
    if _TORCH.match(head):
        return _torch(head)
    if _UBJSON.match(head):
        return "xgboost-ubj"
    if _PICKLE.match(head):
        return "pickle"
    text = head.removeprefix(b"\xef\xbb\xbf")
    first = _FIRST_KEY.match(text)
    if first is None:
        return None
    key = first.group(1).decode(errors="replace")
    if key in _DIALECTS:
        return _DIALECTS[key]
    telling = _TELLING_KEY.search(text)
    return _DIALECTS[telling.group(1).decode()] if telling else None


def _torch(head: bytes) -> Format | None:
    first = _TORCH.match(head)
    member = b"" if first is None else first.group(1)
    if member in (b"data.pkl", b".format_version", b".storage_alignment", b"version") and b"/data.pkl" in head:
        return "torch-weights"
    return "torch-weights" if member == b"data.pkl" else "torch-pt2"


def _of_extension(path: Path, head: bytes) -> Format | None:
    """A pickle of protocol 0 or 1 can begin with a bracket, as other files do."""
    looks = head[:1] in {bytes([opening]) for opening in _PICKLE_OPENINGS} and not head.lstrip().startswith(b'{"')
    return "pickle" if path.suffix.lower() in _PICKLE_EXTENSIONS and looks else None


def _compressed(path: Path, head: bytes) -> Format:
    kind = compression(head[:16])
    inner = head_of(head, _HEAD)
    if not inner and path.suffix.lower() in _PICKLE_EXTENSIONS:
        return "pickle"  # its reader says what is wrong with the stream
    found = _of_content(inner) or _of_extension(path.with_suffix("") if path.suffix == ".gz" else path, inner)
    if found == "pickle":
        return found
    if found is not None:
        raise ModelError(f"{path}: a {found} model, compressed by {kind}", "Decompress it first.")
    raise ModelError(
        f"{path}: the file is compressed by {kind}, but doesn't hold a pickle: {_look(inner or head)}", _READ
    )


def _look(head: bytes) -> str:
    return f"it begins with {head[:16]!r}"
