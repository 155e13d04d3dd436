"""A packed forest by the forest kernel. Standalone: numpy, ctypes and labels.py beside it; the library lies beside the
model's file, or beside millwork's own kernel sources.

Parameters: ``decision`` and ``cut`` (as passes/program.py has them, where labels are asked for), ``isa`` (avx512, avx2,
portable; the best that the CPU has where it isn't given), ``plan`` (auto, rows, blocks), ``crossover``: rows from which
on blocks are faster than rows, as it was timed where the artifact was built. It isn't in the model's file: the same
model is the same file.
"""

from __future__ import annotations

import ctypes
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING or __package__:
    from .labels import decided
else:  # beside an artifact
    from labels import decided

LIBRARY = "libmillwork_kernel.so"
INTERFACE = 2
PLANS = {"auto": 0, "rows": 1, "blocks": 2}
ANSWERS, MARGINS, LEAVES = 0, 1, 2
FEW = 16
"""Up to so many rows are copied to a place whose address is known: asking numpy for an address takes 1 µs."""


class Shape(ctypes.Structure):
    """``mw_shape`` of millwork.h."""

    _fields_ = [
        (name, ctypes.c_uint32)
        for name in ("features", "categories", "integers", "answers", "outputs", "trees", "nodes", "crossover")
    ]


class Runner:
    def __init__(self, model_file: Path, parameters: dict[str, str], threads: int) -> None:
        self.library = load(model_file.parent)
        self.handle = ctypes.c_void_p()
        isa = parameters.get("isa", "").encode() or None
        self._require(self.library.mw_open(str(model_file).encode(), isa, ctypes.byref(self.handle)), str(model_file))
        if parameters.get("crossover"):
            self.library.mw_set_crossover(self.handle, int(parameters["crossover"]))
        self.shape = Shape()
        self._require(self.library.mw_describe(self.handle, ctypes.byref(self.shape)))
        self.plan = PLANS[parameters.get("plan", "auto")]
        self.how, self.cut = parameters.get("decision", ""), float(parameters.get("cut", "0"))
        self.threads = threads
        self.takes_categories = self.shape.categories > 0
        self.kept = _Kept()
        self.version = f"{INTERFACE} ({self.library.mw_isa(self.handle).decode()})"

    def __del__(self) -> None:
        if getattr(self, "handle", None):
            self.library.mw_close(self.handle)

    def predict(self, rows: Any, categories: Any = None) -> Any:
        """The answer, float32 [N, K]: the label where ``decision`` says how it is decided."""
        n = len(rows)
        if n <= FEW and not self.takes_categories and rows.shape == (n, self.shape.features):
            answers = self._few(n, rows)
        else:
            answers = self._ask(ANSWERS, np.empty((n, self.shape.answers), np.float32), rows, categories)
        return decided(answers, self.how, self.cut) if self.how else answers

    def margins(self, rows: Any, categories: Any = None) -> Any:
        """Raw scores, float64 [N, K], as they were summed."""
        return self._ask(MARGINS, np.empty((len(rows), self.shape.outputs), np.float64), rows, categories)

    def leaves(self, rows: Any, categories: Any = None) -> Any:
        """Rows of the node table, int32 [N, T]."""
        return self._ask(LEAVES, np.empty((len(rows), self.shape.trees), np.int32), rows, categories)

    def _few(self, n: int, rows: Any) -> Any:
        """The answers of a few rows, by a call that is kept for this number of rows and this thread."""
        calls = self.kept.calls
        if n not in calls:
            given, out = np.empty((n, self.shape.features), np.float32), np.empty((n, self.shape.answers), np.float32)
            calls[n] = (
                given,
                out,
                (
                    self.handle,
                    ctypes.c_int(ANSWERS),
                    ctypes.c_int(self.plan),
                    ctypes.c_int(self.threads),
                    ctypes.c_void_p(given.ctypes.data),
                    ctypes.c_size_t(n),
                    ctypes.c_size_t(given.shape[1]),
                    None,
                    ctypes.c_size_t(0),
                    ctypes.c_void_p(out.ctypes.data),
                ),
            )
        given, out, call = calls[n]
        given[...] = rows
        self._require(self.library.mw_predict(*call))
        return out.copy()

    def _ask(self, kind: int, out: Any, rows: Any, categories: Any) -> Any:
        if (
            rows.dtype != np.float32
            or rows.ndim != 2
            or rows.strides[1] != 4
            or rows.strides[0] % 4
            or rows.strides[0] < 0
        ):
            rows = np.ascontiguousarray(rows, np.float32)
        if rows.shape[1] != self.shape.features:
            raise ValueError(f"rows of {rows.shape[1]} numbers; the model takes {self.shape.features}")
        given = self._categories(categories, len(rows))
        stride = rows.strides[0] // 4 if len(rows) > 1 else rows.shape[1]
        self._require(
            self.library.mw_predict(
                self.handle,
                kind,
                self.plan,
                self.threads,
                rows.ctypes.data,
                len(rows),
                stride,
                given,
                0 if given is None else len(given),
                out.ctypes.data,
            )
        )
        return out

    def _categories(self, categories: Any, n: int) -> bytes | None:
        """As the library takes them: int64, or each text as its length and its bytes."""
        if not self.shape.categories:
            return None
        if categories is None or categories.shape != (n, self.shape.categories):
            raise ValueError(f"categories of shape {np.shape(categories)} instead of {(n, self.shape.categories)}")
        if self.shape.integers:
            return bytes(np.ascontiguousarray(categories, np.int64).data) if n else b""
        words = [w if isinstance(w, bytes) else str(w).encode() for w in categories.ravel().tolist()]
        return b"".join(len(word).to_bytes(4, "little") + word for word in words)

    def _require(self, code: int, what: str = "") -> None:
        if code:
            said = self.library.mw_message(code).decode()
            raise ValueError(f"{what}: {said}" if what else said)


class _Kept(threading.local):
    """Each thread's calls, by their number of rows: rows [n, F], answers [n, K'], the call's arguments."""

    def __init__(self) -> None:
        self.calls: dict[int, Any] = {}


def load(folder: Path) -> Any:
    """The library beside the model, else the installed one, with its functions' types."""
    beside, own = folder / LIBRARY, Path(__file__).resolve().parent.parent / "kernel" / LIBRARY
    path = beside if beside.is_file() else own
    if not path.is_file():
        raise ImportError(f"{LIBRARY} is missing: millwork was installed without a C++ compiler")
    library = ctypes.CDLL(str(path))
    if library.mw_interface() != INTERFACE:
        raise ImportError(f"{path}: the library has interface {library.mw_interface()}; this runner needs {INTERFACE}")
    pointer, number = ctypes.c_void_p, ctypes.c_size_t
    library.mw_message.restype = library.mw_isa.restype = ctypes.c_char_p
    library.mw_message.argtypes = [ctypes.c_int]
    library.mw_isa.argtypes = library.mw_close.argtypes = [pointer]
    library.mw_close.restype = library.mw_set_crossover.restype = None
    library.mw_set_crossover.argtypes = [pointer, ctypes.c_uint32]
    library.mw_open.argtypes = [ctypes.c_char_p, ctypes.c_char_p, pointer]
    library.mw_open_bytes.argtypes = [pointer, number, ctypes.c_char_p, pointer]
    library.mw_describe.argtypes = [pointer, pointer]
    library.mw_predict.argtypes = [
        pointer,
        ctypes.c_int,
        ctypes.c_int,
        ctypes.c_int,
        pointer,
        number,
        number,
        ctypes.c_char_p,
        number,
        pointer,
    ]
    return library
