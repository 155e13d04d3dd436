"""Compiles the kernel, and what is linked with it. Standalone: setup.py runs it before there is a package.

    python compile/kernel/build.py FOLDER [--sanitize] [--with-fuzzer SOURCE]

Each instruction set's source has flags of its own; which is used is chosen when it runs. ``--sanitize``: with
AddressSanitizer and UndefinedBehaviorSanitizer, to be loaded under their runtimes.
"""

from __future__ import annotations

import argparse
import os
import shlex
import subprocess
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

KERNEL = Path(__file__).resolve().parent
LIBRARY_FOLDERS, TRITON_FOLDERS = (".", "cpu"), (".", "cpu", "cuda", "triton")
"""Where each library has its sources."""
LIBRARY, TRITON_LIBRARY = "libmillwork_kernel.so", "libtriton_millwork.so"

COMPILER = shlex.split(os.environ.get("CXX", "c++"))
FLAGS = (
    "-std=c++17", "-O3", "-fPIC", "-fvisibility=hidden", "-Wall", "-Wextra",
    "-Wno-maybe-uninitialized",  # gcc 12's own vector headers
    "-falign-functions=64",  # a cache line: else a loop is up to 10% slower or faster by what is linked before it
    *shlex.split(os.environ.get("CXXFLAGS", "")),
    "-fno-fast-math", "-ffp-contract=off", "-fno-math-errno",  # last: whatever CXXFLAGS says, the same bits
)  # fmt: skip
OF_SOURCE = {
    "isa_avx2.cpp": ("-mavx2", "-mbmi2", "-mpopcnt"),
    "isa_avx512.cpp": ("-mavx512f", "-mavx512bw", "-mavx512dq", "-mavx512vl", "-mavx512vbmi", "-mbmi2", "-mpopcnt"),
}
"""What a source needs beyond what every CPU of the architecture has."""
LINK = ("-static-libstdc++", "-static-libgcc", "-pthread", "-Wl,--exclude-libs,ALL", "-Wl,--gc-sections")
"""What isn't used of the C++ library goes, and with it symbols of newer versions of the C library."""
SANITIZE = (
    "-fsanitize=address,undefined",
    "-fno-sanitize-recover=all",
    "-fno-omit-frame-pointer",
    "-O1",
    "-g",
    "-fno-var-tracking",
)


def has_compiler() -> bool:
    try:
        return subprocess.run([*COMPILER, "--version"], capture_output=True).returncode == 0
    except OSError:
        return False


def sources(folders: Sequence[str]) -> list[Path]:
    return [path for folder in folders for path in sorted(KERNEL.glob(f"{folder}/*.cpp"))]


def kernel(into: Path, objects: Path, extra: Sequence[str] = ()) -> Path:
    """The kernel's library, at ``into``. CalledProcessError where the compiler fails."""
    made = compiled(sources(LIBRARY_FOLDERS), objects, extra)
    link = [f for f in LINK if not extra or "static" not in f]  # a sanitizer's runtime is one for all libraries
    _run(
        [*COMPILER, *made, "-shared", *link, *extra, *(() if extra else ("-s",)), "-Wl,--no-undefined", "-o", str(into)]
    )
    return into


def triton_backend(into: Path, objects: Path) -> Path:
    """Triton's backend with the kernel in it. What it calls of the server is in the server, and undefined here."""
    made = compiled(sources(TRITON_FOLDERS), objects, ())
    exports = f"-Wl,--version-script={KERNEL / 'triton' / 'exports.map'}"
    _run([*COMPILER, *made, "-shared", *LINK, "-ldl", "-s", exports, "-o", str(into)])
    return into


def program(source: Path, into: Path, objects: Path, extra: Sequence[str]) -> Path:
    """A program of one source with the kernel in it."""
    made = compiled([*sources(LIBRARY_FOLDERS), source], objects, extra)
    _run([*COMPILER, *made, *extra, "-pthread", "-o", str(into)])
    return into


def compiled(sources: Sequence[Path], folder: Path, extra: Sequence[str]) -> list[str]:
    """Compiled side by side, each once: what is in ``folder`` already was compiled by this process."""
    folder.mkdir(parents=True, exist_ok=True)
    made = {str(folder / f"{source.stem}.o"): source for source in sources}

    def compile_one(target: str) -> None:
        own = OF_SOURCE.get(made[target].name, ())
        _run([*COMPILER, *FLAGS, *own, *extra, f"-I{KERNEL}", "-c", str(made[target]), "-o", target])

    lacking = [target for target in made if target not in _compiled]
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        list(pool.map(compile_one, lacking))  # the list raises what a compiler's failure raised
    _compiled.update(lacking)
    return list(made)


_compiled: set[str] = set()


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("folder", type=Path)
    parser.add_argument("--sanitize", action="store_true")
    parser.add_argument("--with-fuzzer", type=Path)
    asked = parser.parse_args()
    extra = SANITIZE if asked.sanitize else ()
    objects = asked.folder / "objects"
    kernel(asked.folder / LIBRARY, objects, extra)
    if asked.with_fuzzer:
        program(asked.with_fuzzer, asked.folder / asked.with_fuzzer.stem, objects, extra)


if __name__ == "__main__":
    main()
