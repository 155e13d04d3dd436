"""A postprocess is a number in the kernels' files: what Python writes is what each C++ source reads it as."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from millwork.compile.runners import cuda_forest
from millwork.passes.program import PAIRS, POSTPROCESSES

KERNEL = Path(__file__).resolve().parents[2] / "compile" / "kernel"
SOURCES = [path for path in sorted(KERNEL.rglob("*")) if path.suffix in (".h", ".hpp", ".cpp", ".cu", ".cuh")]
TEXTS = {str(path.relative_to(KERNEL)): re.sub(r"//.*", "", path.read_text()) for path in SOURCES}

ENUMERATION = re.compile(r"enum\b[^{};]*\{([^{}]*\bkIdentity\b[^{}]*)\}")
NUMBERED = re.compile(r"\b(k[A-Z]\w*) = (\d+)\b")

ENUMERATIONS = {name: found.group(1) for name, text in TEXTS.items() if (found := ENUMERATION.search(text))}


def constant(postprocess: str) -> str:
    """``mean-variance`` -> ``kMeanVariance``."""
    return "k" + "".join(word.capitalize() for word in postprocess.split("-"))


def test_the_kernel_for_cpus_and_the_one_for_gpus_enumerate_them() -> None:
    folders = sorted("cuda" if Path(name).parts[0] == "cuda" else "" for name in ENUMERATIONS)
    assert folders == ["", "cuda"], ENUMERATIONS.keys()


@pytest.mark.parametrize("name", ENUMERATIONS)
def test_an_enumeration_has_our_order(name: str) -> None:
    names = [found for found in re.findall(r"\bk\w+", ENUMERATIONS[name]) if found != "kPostprocesses"]
    assert names == [constant(postprocess) for postprocess in POSTPROCESSES]


def test_numbers_that_are_spelled_out_are_the_same() -> None:
    """Where C++ gives numbers beside the names; and the GPU file's reader in Python, which has numbers alone."""
    code = {constant(postprocess): number for number, postprocess in enumerate(POSTPROCESSES)}
    spelled = [(name, *found) for name, text in TEXTS.items() for found in NUMBERED.findall(text) if found[0] in code]
    assert {(constant, int(number)) for _, constant, number in spelled} >= {("kBinary", 2), ("kMeanVariance", 9)}
    assert [place for place in spelled if code[place[1]] != int(place[2])] == []
    assert len(POSTPROCESSES) == cuda_forest.POSTPROCESSES
    assert {POSTPROCESSES[number] for number in cuda_forest.PAIRS} == PAIRS
    assert POSTPROCESSES[cuda_forest.MEAN_VARIANCE] == "mean-variance"
