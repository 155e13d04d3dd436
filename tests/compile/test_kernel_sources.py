"""The kernel's C++: how its sources are divided, and that its lists are Python's."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from millwork.compile import kernel
from millwork.compile.backends.native import cpu_file
from millwork.compile.kernel import build
from millwork.compile.runners import cuda_forest

KERNEL = Path(kernel.__file__).resolve().parent
CPU = KERNEL / "cpu"
MOST_LINES = 500


def enumerators(header: str, name: str) -> list[str]:
    """The names of an enumeration as Python writes them, in its order: kCtrShape is ctr_shape."""
    text = re.sub(r"//.*", "", (KERNEL / header).read_text())
    (body,) = re.findall(rf"enum {name} : \w+ \{{(.*?)\}}", text, re.DOTALL)
    names = [one.partition("=")[0].strip().removeprefix("k") for one in body.split(",") if one.strip()]
    return [re.sub(r"(?<!^)(?=[A-Z])", "_", one).lower() for one in names]


def test_no_source_is_long() -> None:
    """forest.cu is one source for NVRTC, which reads it as a text."""
    sources = [path for suffix in ("cpp", "h") for path in KERNEL.rglob(f"*.{suffix}")]
    assert {"api.cpp", "fold.h", "simd_avx512.h"} <= {path.name for path in sources}
    lengths = {path.name: len(path.read_text().splitlines()) for path in sources}
    assert not {name: lines for name, lines in lengths.items() if lines > MOST_LINES}


@pytest.mark.parametrize("path", sorted(CPU.glob("*.h")), ids=lambda path: path.name)
def test_only_primitives_know_an_instruction_set(path: Path) -> None:
    text = re.sub(r"//.*", "", path.read_text())
    assert not re.findall(r"^ *# *(?:if|ifdef|ifndef|else|elif)\b", text, re.MULTILINE)
    if not path.name.startswith("simd_"):
        assert not re.findall(r"\b_+mm?\w+|immintrin|avx", text, re.IGNORECASE)


@pytest.mark.skipif(not build.has_compiler(), reason="no C++ compiler")
def test_an_instruction_sets_object_has_no_function_that_another_file_could_get(tmp_path: Path) -> None:
    """Of functions with one name the linker keeps one copy, for all files: it could be one that this CPU can't run."""
    objects = build.compiled([CPU / name for name in build.OF_SOURCE], tmp_path, ())
    for path in objects:
        said = subprocess.run(
            ["nm", "--extern-only", "--defined-only", path], check=True, capture_output=True, text=True
        )
        names = [line.split()[-1] for line in said.stdout.splitlines()]
        assert re.fullmatch(r"_ZN8millwork\d+kAvx(2|512)E", " ".join(names)), f"{path} defines {names}"


@pytest.mark.parametrize(
    ("header", "name", "last", "python"),
    [
        ("packed.h", "Section", "sections", cpu_file.SECTIONS),
        ("cuda/cuda_forest.h", "Section", "sections", cuda_forest.SECTIONS),
    ],
)
def test_what_a_file_has_by_number_is_numbered_alike(
    header: str, name: str, last: str, python: tuple[str, ...]
) -> None:
    assert enumerators(header, name) == [*(one.replace("-", "_") for one in python), last]
