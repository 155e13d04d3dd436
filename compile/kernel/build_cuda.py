"""Compiles the CUDA kernel ahead of time, and says what each of its kernels takes. Standalone; needs nvcc, and no GPU.

    python compile/kernel/build_cuda.py [--into forest.fatbin] [--table FILE.json] [--capabilities 75,80,86,89,90]

One file with code for every compute capability of the list, and PTX of the last one for those that come after it. The
table has, of each kernel and capability, ptxas's own words: registers, bytes of stack, of spills and of static shared
memory. What is shared dynamically is the runner's choice: 16 KiB of trees, and 128 bytes a tile and column.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

CUDA = Path(__file__).resolve().parent / "cuda"
SOURCE, FATBIN = CUDA / "forest.cu", "forest.fatbin"
CAPABILITIES = (75, 80, 86, 89, 90)
"""T4, A100, A10, L4, H100."""
FLAGS = ("-std=c++17", "-O3", "--fmad=false", "--ftz=false", "--prec-div=true", "--fatbin", "--compress-mode=size",
         "-Xptxas", "-v", "-Wno-deprecated-gpu-targets")  # fmt: skip


@dataclass(frozen=True)
class Taken:
    """What one kernel takes on one compute capability; bytes, and registers a thread."""

    kernel: str
    capability: int
    registers: int
    stack: int
    spill_stores: int
    spill_loads: int
    static_shared: int


def nvcc() -> str | None:
    """The compiler, None where there is none."""
    return shutil.which("nvcc")


def build(into: Path, capabilities: tuple[int, ...] = CAPABILITIES, source: Path = SOURCE) -> list[Taken]:
    """The fatbin, at ``into``. CalledProcessError where nvcc refuses."""
    code = [f"-gencode=arch=compute_{one},code=sm_{one}" for one in capabilities]
    newest = f"-gencode=arch=compute_{capabilities[-1]},code=compute_{capabilities[-1]}"
    command = [nvcc() or "nvcc", *FLAGS, *code, newest, str(source), "-o", str(into)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    return told(done.stderr)


def told(text: str) -> list[Taken]:
    """What ptxas said, by kernel and capability."""
    found = []
    for part in text.split("Compiling entry function ")[1:]:
        name = re.match(r"'(\w+)' for 'sm_(\d+)\w*'", part)
        spills = re.search(r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part)
        registers = re.search(r"Used (\d+) registers", part)
        if name is None or spills is None or registers is None:
            raise ValueError(f"ptxas says what this doesn't read: {part[:200]!r}")
        shared = re.search(r"(\d+) bytes smem", part)
        found.append(Taken(
            kernel=name[1], capability=int(name[2]), registers=int(registers[1]), stack=int(spills[1]),
            spill_stores=int(spills[2]), spill_loads=int(spills[3]), static_shared=int(shared[1]) if shared else 0,
        ))  # fmt: skip
    return sorted(found, key=lambda one: (one.kernel, one.capability))


def table(found: list[Taken], fatbin: Path, source: Path = SOURCE) -> str:
    """The JSON of benchmarks/results/cuda.json."""
    said = subprocess.run([nvcc() or "nvcc", "--version"], check=True, capture_output=True, text=True).stdout
    version = re.search(r"V([\d.]+)", said)
    head = {
        "source_sha256": hashlib.sha256(source.read_bytes()).hexdigest(), "nvcc": version[1] if version else "",
        "flags": " ".join(FLAGS), "fatbin_bytes": fatbin.stat().st_size,
    }  # fmt: skip
    lines = ",\n".join(f"    {json.dumps(asdict(one))}" for one in found)
    return json.dumps(head, indent=2)[:-2] + f',\n  "kernels": [\n{lines}\n  ]\n}}\n'


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--into", type=Path, default=CUDA / FATBIN)
    parser.add_argument("--table", type=Path)
    parser.add_argument("--capabilities", default=",".join(map(str, CAPABILITIES)))
    asked = parser.parse_args()
    if nvcc() is None:
        raise SystemExit("nvcc isn't on the path: the CUDA toolkit has it; without it the kernel is compiled by NVRTC")
    found = build(asked.into, tuple(int(one) for one in asked.capabilities.split(",")))
    if asked.table:
        asked.table.write_text(table(found, asked.into))
    for name in sorted({one.kernel for one in found}):
        own = [one for one in found if one.kernel == name]
        registers = " ".join(f"sm_{one.capability}:{one.registers}" for one in own)
        sys.stdout.write(f"{name:24} registers {registers}  spilt bytes {sum(one.spill_stores for one in own)}\n")


if __name__ == "__main__":
    main()
