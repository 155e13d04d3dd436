"""The GPU's part of the runner on a CPU: forest.cu compiled as C++, every lane of it run (tests/native/emulation.h)."""

from __future__ import annotations

import ctypes
import shlex
import subprocess
from collections.abc import Callable
from os import environ
from pathlib import Path
from typing import Any

import numpy as np

NATIVE = Path(__file__).resolve().parent.parent / "native"
SOURCE = NATIVE.parent.parent / "compile" / "kernel" / "cuda" / "forest.cu"
COMPILER = shlex.split(environ.get("CXX", "c++"))
FLAGS = ("-std=c++17", "-O2", "-ffp-contract=off", "-Wall", "-Wextra", "-Wno-unknown-pragmas", "-Werror", "-fPIC",
         "-shared", "-fvisibility=hidden")  # fmt: skip
SANITIZE = ("-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-O1", "-g")
"""Where ``make test-native`` asks for it."""
SAID = {1: "some lanes ended while others waited for them", 2: "a lane wrote behind its block's shared memory"}


def build(folder: Path, source: Path = SOURCE) -> Path:
    """The library of ``source``. CalledProcessError where the compiler refuses."""
    library = folder / "libemulated.so"
    kernels = f'-DMW_SOURCE="{source}"'
    extra = SANITIZE if "MILLWORK_TEST_KERNEL" in environ else ()
    subprocess.run([*COMPILER, *FLAGS, *extra, kernels, str(NATIVE / "emulate.cpp"), "-o", str(library)], check=True)
    return library


class Emulated:
    """``order``: of the lanes between barriers, and of blocks. 0 forwards, 1 backwards, else a shuffle's seed."""

    has_graphs = True
    version = "emulated"
    dl_device: tuple[int, int] = (1, 0)  # the CPU's
    dl_stream: int | None = None

    def __init__(self, library: Path, order: int = 0, processors: int = 4, shared_bytes: int = 100_000) -> None:
        self.library = ctypes.CDLL(str(library))
        self.order, self.processors, self.shared_bytes = order, processors, shared_bytes
        self.memory: dict[int, Any] = {}
        self.launched: list[str] = []
        self.work: list[Callable[[], None]] = []
        self.recording: list[Callable[[], None]] | None = None

    def enter(self) -> None:
        pass

    def room(self, size: int) -> int:
        held = np.zeros(size, np.uint8)  # no more: a sanitizer sees what reads beyond it
        address = int(held.ctypes.data)
        assert address % 16 == 0
        self.memory[address] = held
        return address

    def free(self, address: int) -> None:
        del self.memory[address]

    def pinned(self, size: int) -> Any:
        return np.full(size, 0xEE, np.uint8)

    def unpin(self, pinned: Any) -> None:
        pinned[:] = 0x77

    def upload(self, address: int, array: Any) -> None:
        held = np.ascontiguousarray(array)
        ctypes.memmove(address, held.ctypes.data, held.nbytes)

    def copy_in(self, address: int, pinned: Any, size: int) -> None:
        self._do(lambda: ctypes.memmove(address, pinned.ctypes.data, size))

    def copy_out(self, pinned: Any, address: int, size: int) -> None:
        self._do(lambda: ctypes.memmove(pinned.ctypes.data, address, size))

    def copy_rows(self, to: int, given: int, rows: int, wide: int, stride: int) -> None:
        for row in range(rows):
            ctypes.memmove(to + row * wide, given + row * stride, wide)

    def launch(self, one: Any, given: ctypes.Structure) -> None:
        assert one.shared <= self.shared_bytes
        assert one.threads % 32 == 0
        assert one.threads <= 256
        assert one.y <= 65535
        kept = type(given).from_buffer_copy(given)  # as the driver copies a kernel's parameters

        def work() -> None:
            self.launched.append(one.kernel)
            kernel = ctypes.cast(getattr(self.library, one.kernel), ctypes.c_void_p)
            code = self.library.emulate(kernel, one.x, one.y, one.threads, one.shared, ctypes.byref(kept), self.order)
            assert code == 0, f"{one}: {SAID[code]}"

        self._do(work)

    def record(self, work: Callable[[], None]) -> Any:
        work()
        self.recording = []
        work()
        graph, self.recording = self.recording, None
        return graph

    def replay(self, graph: Any) -> None:
        for one in graph:
            one()

    def forget(self, graph: Any) -> None:
        graph.clear()

    def mark(self, event: int) -> None:
        pass

    def elapsed_us(self, first: int, last: int) -> float:
        return 1.0

    def wait(self) -> None:
        pass

    def _do(self, work: Callable[[], Any]) -> None:
        if self.recording is None:
            work()
        else:
            self.recording.append(work)
