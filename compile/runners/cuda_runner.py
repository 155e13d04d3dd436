"""A forest by our own kernel on an NVIDIA GPU. Standalone: numpy and cuda-bindings, with
cuda_device.py, cuda_dlpack.py, cuda_forest.py and labels.py beside it.

Parameters: ``decision`` and ``cut`` (as native_runner has them), ``plan`` (auto, few, rows, tiles), ``crossover``
(up to so many rows the small-batch plan is taken; :data:`FEW` where it isn't given), ``device`` (its number; 0).

``predict`` takes rows in host memory: through pinned buffers that are kept, and up to :data:`GRAPH_ROWS` rows as a CUDA
graph, copies included. ``last_us`` is the GPU's own time of the last call without the copies, ``copies_us`` theirs, by
events; in a graph they are one, and ``copies_us`` is None. ``predict_device`` takes and gives addresses on the GPU.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING or __package__:
    from . import cuda_device, cuda_dlpack, cuda_forest
    from .labels import decided
else:  # beside an artifact
    import cuda_device
    import cuda_dlpack
    import cuda_forest
    from labels import decided

ANSWERS, MARGINS, LEAVES = 0, 1, 2
FEW, GRAPH_ROWS, GRAPHS = 1024, 1024, 64
"""Rows up to which the small-batch plan is taken where nobody measured; rows of a graph, and how many are kept."""
PART = 1 << 17
"""Rows of host memory that are on the GPU at a time."""
TILE_BYTES, TREE_BYTES, MOST_VALUES = 128, cuda_forest.TREE_BYTES, 1 << 28
THREADS, FEW_THREADS, STAGE, WARPS = 256, 128, 32768, 8

TRIED = (128, 256, 512, 1024, 2048, 4096, 8192, 16384)
"""Numbers of rows at which the plans are timed."""
TIMES = 9


class Given(ctypes.Structure):
    """``MwGiven`` of forest.cu."""

    _fields_ = [
        *((name, ctypes.c_uint64) for name in (
            "search", "feature", "column", "member", "set_start", "sentinel", "tree", "tree_at", "tree_id",
            "tree_slot", "slot_target", "deep", "leaf_row", "leaf_value", "output_start", "base", "group",
            "rows", "ranks", "values", "sums", "arrived", "out", "n", "stride",
        )),
        *((name, ctypes.c_uint32) for name in (
            "inputs", "features", "columns", "sentinels", "trees", "outputs", "leaf_stride", "groups", "or_equal",
            "average", "base_last", "postprocess", "wide", "kind", "staged", "few", "room",
        )),
    ]  # fmt: skip


@dataclass(frozen=True)
class Launch:
    """A kernel, its grid, a block's threads and bytes of shared memory; and what of :class:`Given` is its own."""

    kernel: str
    x: int
    y: int
    threads: int
    shared: int
    staged: int = 0
    few: int = 0


class Runner:
    def __init__(self, model_file: Path, parameters: dict[str, str], threads: int, device: Any = None) -> None:
        self.forest = cuda_forest.read(model_file)
        self.numbers = self.forest.numbers
        self.how, self.cut = parameters.get("decision", ""), float(parameters.get("cut", "0"))
        self.plan, self.crossover = parameters.get("plan", "auto"), int(parameters.get("crossover", FEW))
        self.device = device or cuda_device.Cuda(model_file.parent, int(parameters.get("device", "0")))
        self.version = self.device.version
        self.given = self._uploaded()
        self.lock = threading.Lock()
        self.held: dict[str, tuple[int, int]] = {}  # device memory of calls by name: address, bytes
        self.pinned: dict[str, Any] = {}
        self.graphs: dict[int, Any] = {}
        self.last_us, self.copies_us = 0.0, None  # type: float, float | None

    def predict(self, rows: Any, categories: Any = None) -> Any:
        """float32 [N, F] -> float32 [N, K]; the label where ``decision`` says how it is decided."""
        answers = self._ask(ANSWERS, rows, np.empty((len(rows), self.numbers["answers"]), np.float32))
        return decided(answers, self.how, self.cut) if self.how else answers

    def margins(self, rows: Any, categories: Any = None) -> Any:
        """Raw scores, float64 [N, K], as they were summed."""
        return self._ask(MARGINS, rows, np.empty((len(rows), self.numbers["outputs"]), np.float64))

    def leaves(self, rows: Any, categories: Any = None) -> Any:
        """Rows of the node table, int32 [N, T]."""
        return self._ask(LEAVES, rows, np.empty((len(rows), self.numbers["trees"]), np.int32))

    def predict_device(self, rows: int, n: int, out: int, kind: int = ANSWERS, stride: int = 0) -> float:
        """The answers of ``n`` rows at the address ``rows`` to the address ``out``; microseconds on the GPU.
        ``stride``: floats from row to row, F where it is 0. All that is there of earlier streams must be done."""
        with self.lock:
            self.device.enter()
            self.device.mark(0)
            self.enqueue(rows, n, out, kind, stride)
            self.device.mark(1)
            self.device.wait()
            self.last_us, self.copies_us = self.device.elapsed_us(0, 1), None
            return self.last_us

    def predict_tensors(self, given: Sequence[Any]) -> list[Any]:
        """The answers of several arrays of rows together, float32 [n, F] each, which are on the GPU and come by DLPack:
        of each its own, by DLPack again; in host memory where ``decision`` makes labels of them."""
        device, inputs, each = self.device, self.numbers["inputs"], self.numbers["answers"] * 4
        parts = [cuda_dlpack.Rows(one, device.dl_device, device.dl_stream) for one in given]
        if wrong := [part for part in parts if part.columns != inputs]:
            raise ValueError(f"rows of {wrong[0].columns} numbers; the model takes {inputs}")
        starts = np.cumsum([0, *(part.n for part in parts)]).tolist()
        with self.lock:
            device.enter()
            rows, stride = (parts[0].address, parts[0].stride) if len(parts) == 1 else (self._gathered(parts), inputs)
            out = cuda_dlpack.Owned(device.room(max(starts[-1] * each, 16)), device.free)
            self.enqueue(rows, starts[-1], out.address, stride=stride)
            if self.how:
                held = self._pinned("out", max(starts[-1] * each, 4))
                device.copy_out(held, out.address, starts[-1] * each)
            device.wait()
            for part in parts:
                part.close()
            if self.how:
                whole = held[: starts[-1] * each].view(np.float32).reshape(starts[-1], -1)
                return np.split(decided(whole, self.how, self.cut), starts[1:-1])
        return [
            cuda_dlpack.Answers(out, at * each, (part.n, self.numbers["answers"]), device.dl_device)
            for at, part in zip(starts, parts, strict=False)
        ]

    def _gathered(self, parts: Sequence[Any]) -> int:
        """The rows of all parts one after the other, in memory of ours."""
        wide = self.numbers["inputs"] * 4
        at = start = self._room("gathered", max(sum(part.n for part in parts) * wide, 16))
        for part in parts:
            self.device.copy_rows(at, part.address, part.n, wide, part.stride * 4)
            at += part.n * wide
        return start

    def enqueue(self, rows: int, n: int, out: int, kind: int = ANSWERS, stride: int = 0) -> None:
        """The same on the device's stream, without waiting for it: for graphs and for those who time."""
        if not n or (kind == LEAVES and not self.numbers["trees"]):
            return
        given, launches = self.given, self.launches(n, kind)
        self._reserve(n, launches[0])
        given.rows, given.out, given.n, given.kind = rows, out, n, kind
        given.stride = stride or self.numbers["inputs"]
        for name in ("ranks", "values", "sums", "arrived"):
            setattr(given, name, self.held[name][0])
        for one in launches:
            given.staged, given.few, given.room = one.staged, one.few, one.shared
            self.device.launch(one, given)

    def launches(self, n: int, kind: int = ANSWERS) -> list[Launch]:
        """What is launched for so many rows."""
        few = self._few(n)
        if few is not None and (self.plan == "few" or (self.plan == "auto" and n <= self.crossover)):
            return [few]
        tile = 32 * self._per
        tiles = -(-n // tile)
        tiled = self.plan == "tiles" or (self.plan != "rows" and tiles >= WARPS * self.device.processors)
        suffix = f"{self._ranks}_{self._sums}{'_wide' if self.numbers['wide'] and kind != LEAVES else ''}"
        split = 1 if tiled else self._per
        each = max(1, min(WARPS // split, -(-tiles // self.device.processors)))
        bytes_of_tile = self.numbers["columns"] * TILE_BYTES
        while each > 1 and TREE_BYTES + each * bytes_of_tile > self.device.shared_bytes:
            each //= 2
        staged = TREE_BYTES + each * bytes_of_tile <= self.device.shared_bytes
        walk = Launch(
            f"mw_{'tiles' if tiled else 'rows'}_{suffix}", -(-tiles // each),
            -(-self.numbers["outputs"] // 4) if suffix.endswith("wide") else 1, 32 * each * split,
            TREE_BYTES + (each * bytes_of_tile if staged else 0), staged=int(staged),
        )  # fmt: skip
        found = [Launch(f"mw_rank_{self._ranks}", tiles, 1, THREADS, tile * 33 * 4), walk]
        return found if kind == LEAVES else [*found, Launch(f"mw_finish_{self._sums}", -(-n // THREADS), 1, THREADS, 0)]

    def _few(self, n: int) -> Launch | None:
        """The small-batch plan; None where their ranks or their values take too much memory."""
        trees, size = self.numbers["trees"], self.numbers["columns"] * self.numbers["rank_bytes"]
        shift = min(3, (n - 1).bit_length())
        while shift and size << shift > STAGE:
            shift -= 1
        tiles = -(-n >> shift)
        if size > STAGE or not trees or (tiles * self._values << shift) * 8 > MOST_VALUES:
            return None
        blocks = max(1, min(-(-(trees << shift) // FEW_THREADS), 4 * self.device.processors // tiles))
        shared = max(size << shift, min(STAGE, (self._values << shift) * self._item), 64)
        return Launch(
            f"mw_few_{self._ranks}_{self._sums}", tiles, blocks, FEW_THREADS, -(-shared // 16) * 16, few=shift
        )

    @property
    def _ranks(self) -> str:
        return "u8" if self.numbers["rank_bytes"] == 1 else "u16"

    @property
    def _sums(self) -> str:
        return "f64" if self.numbers["doubles"] else "f32"

    @property
    def _per(self) -> int:
        """Rows of a lane's word."""
        return 4 // self.numbers["rank_bytes"]

    @property
    def _item(self) -> int:
        """Bytes of a leaf's value."""
        return 8 if self.numbers["doubles"] else 4

    @property
    def _values(self) -> int:
        """Values that are added for a row."""
        return self.numbers["trees"] * (self.numbers["outputs"] if self.numbers["wide"] else 1)

    def _ask(self, kind: int, rows: Any, out: Any) -> Any:
        rows = np.asarray(rows)
        if rows.ndim != 2 or rows.shape[1] != self.numbers["inputs"]:
            raise ValueError(f"rows of shape {rows.shape}; the model takes [N, {self.numbers['inputs']}]")
        spent, copies = 0.0, 0.0  # type: float, float | None
        with self.lock:
            self.device.enter()
            for at in range(0, len(rows), PART):
                part = rows[at : at + PART]
                gpu, moved = self._part(kind, part, out[at : at + PART])
                spent += gpu
                copies = None if moved is None or copies is None else copies + moved
            self.last_us, self.copies_us = spent, copies
        return out

    def _part(self, kind: int, rows: Any, out: Any) -> tuple[float, float | None]:
        """One part from pinned rows to pinned answers; the GPU's time and that of the copies, if they were apart."""
        n, device = len(rows), self.device
        width = max(out.nbytes, 4)
        given, taken = self._pinned("rows", max(rows.size * 4, 4)), self._pinned("out", width)
        given[: rows.size * 4].view(np.float32).reshape(rows.shape)[...] = rows
        if kind == ANSWERS and n <= GRAPH_ROWS and device.has_graphs:
            graph = self.graphs.get(n) or self._recorded(n, rows.size * 4, out.nbytes)
            device.mark(0)
            device.replay(graph)
            device.mark(1)
            device.wait()
            apart = None
            spent = device.elapsed_us(0, 1)
        else:
            device.mark(0)
            device.copy_in(self._room("rows", given.nbytes), given, rows.size * 4)
            device.mark(1)
            self.enqueue(self.held["rows"][0], n, self._room("out", width), kind)
            device.mark(2)
            device.copy_out(taken, self.held["out"][0], out.nbytes)
            device.mark(3)
            device.wait()
            spent, apart = device.elapsed_us(1, 2), device.elapsed_us(0, 1) + device.elapsed_us(2, 3)
        out[...] = taken[: out.nbytes].view(out.dtype).reshape(out.shape)
        return spent, apart

    def _recorded(self, n: int, given: int, wanted: int) -> Any:
        """The graph of ``n`` rows, copies included. Memory is taken before: none may be while it is recorded."""
        pinned = self._pinned("rows", given), self._pinned("out", wanted)
        rows, out = self._room("rows", pinned[0].nbytes), self._room("out", pinned[1].nbytes)
        self._reserve(n, self.launches(n)[0])

        def all_of_it() -> None:
            self.device.copy_in(rows, pinned[0], given)
            self.enqueue(rows, n, out)
            self.device.copy_out(pinned[1], out, wanted)

        if len(self.graphs) >= GRAPHS:
            self.device.forget(self.graphs.pop(next(iter(self.graphs))))
        self.graphs[n] = self.device.record(all_of_it)
        return self.graphs[n]

    def _reserve(self, n: int, first: Launch) -> None:
        """Device memory for the ranks, values and sums of ``n`` rows by the plan that begins with ``first``."""
        few = first.kernel.startswith("mw_few")
        tiles = first.x
        self._room("ranks", 16 if few else tiles * self.numbers["columns"] * TILE_BYTES)
        self._room("values", (tiles * self._values << first.few) * self._item if few else 16)
        self._room("sums", n * self.numbers["outputs"] * self._item)
        self._room("arrived", tiles * 4 if few else 16)

    def _room(self, name: str, size: int) -> int:
        """The address of device memory of at least ``size`` bytes; zeros at first. What grows ends all graphs."""
        at, has = self.held.get(name, (0, 0))
        if has < size:
            self._forget()
            if has:
                self.device.free(at)
            grown = max(size, 2 * has, 1 << 16)
            self.held[name] = self.device.room(grown), grown
        return self.held[name][0]

    def _pinned(self, name: str, size: int) -> Any:
        """Pinned host memory, bytes, at least ``size``."""
        if name not in self.pinned or self.pinned[name].nbytes < size:
            self._forget()
            old = self.pinned.pop(name, None)
            self.pinned[name] = self.device.pinned(max(size, 1 << 16, 0 if old is None else 2 * old.nbytes))
            if old is not None:
                self.device.unpin(old)
        return self.pinned[name]

    def _forget(self) -> None:
        for graph in self.graphs.values():
            self.device.forget(graph)
        self.graphs.clear()

    def _uploaded(self) -> Given:
        """The forest's arrays on the GPU, and its numbers."""
        own = self.numbers
        given = Given(**{name: own[name] for name in (
            "inputs", "columns", "trees", "outputs", "leaf_stride", "or_equal", "average", "base_last", "postprocess",
            "wide",
        )})  # fmt: skip
        for name, array in self.forest.arrays.items():
            address = self.device.room(max(array.nbytes, 16))
            self.device.upload(address, array)
            setattr(given, name, address)
        given.features, given.sentinels = len(self.forest.arrays["feature"]) // 6, len(self.forest.arrays["sentinel"])
        given.groups = len(self.forest.arrays["group"]) - 1
        return given


def crossover(runner: Runner) -> int:
    """The largest number of rows, of those that are tried, up to which the small-batch plan is the faster one."""
    most, best = TRIED[-1], 0
    inputs, outputs = runner.numbers["inputs"], runner.numbers["answers"]
    rows = np.random.default_rng(0).normal(size=(most, inputs)).astype(np.float32)
    given, out = runner.device.room(max(rows.nbytes, 16)), runner.device.room(most * outputs * 4)
    try:
        runner.device.upload(given, rows)
        for n in TRIED:
            took = []
            for plan in ("few", "rows"):
                runner.plan = plan
                took.append(min(runner.predict_device(given, n, out) for _ in range(TIMES)))
            if took[0] > took[1]:
                break
            best = n
    finally:
        runner.plan = "auto"
        runner.device.free(given)
        runner.device.free(out)
    return best
