"""Each pass on trees beside its golden file: programs, and what the pass makes of them, as text.

``golden/<pass>.txt`` holds cases: a line ``== what it shows``, a program (:mod:`millwork.passes.text`), a line ``=>``
with what the pass says of it, ``leaf_map`` (the node that each leaf is afterwards; -1: none), the program afterwards.

A new case: write its title and its program. Then, or when a pass is meant to do something else now, let the files be
written again, and read what changed::

    MILLWORK_WRITE_GOLDEN=1 pytest tests/passes/test_golden.py
    git diff tests/passes/golden
"""

from __future__ import annotations

import difflib
import os
from pathlib import Path

import pytest

from millwork.passes import pass_table
from millwork.passes.base import run
from millwork.passes.text import parse_program, program_text

GOLDEN = Path(__file__).parent / "golden"
WRITE = "MILLWORK_WRITE_GOLDEN"


def cases(text: str) -> tuple[str, list[tuple[str, str]]]:
    """What stands before the first case, and of each case its title and its program."""
    head, *rest = text.split("== ")
    parts = [case.partition("\n")[::2] for case in rest]
    return head, [(title, program.partition("=> ")[0]) for title, program in parts]


def written(name: str, text: str) -> str:
    """The file as it should be: its titles and programs, and what the pass makes of them."""
    head, found = cases(text)
    return head + "\n".join(f"== {title}\n{outcome(name, program)}" for title, program in found)


def outcome(name: str, text: str) -> str:
    program = parse_program(text)
    (rewrite,) = run([pass_table.PASSES[name]], program).rewrites
    said = f"=> {'modified' if rewrite.modified else 'unchanged'}: {rewrite.summary}\n"
    moved = " ".join(["leaf_map", *map(str, rewrite.leaf_map)])
    return f"{program_text(program)}{said}{moved}\n{program_text(rewrite.program)}"


@pytest.mark.parametrize("name", pass_table.PASSES)
def test_a_pass_makes_of_each_program_what_its_golden_file_says(name: str) -> None:
    path = GOLDEN / f"{name}.txt"
    assert path.is_file(), f"every pass has a golden file, and {path} isn't there"
    golden = path.read_text()
    now = written(name, golden)
    if os.environ.get(WRITE):
        path.write_text(now)
        pytest.skip(f"{path} is written again")
    diff = difflib.unified_diff(golden.splitlines(), now.splitlines(), path.name, "what the pass does", lineterm="")
    if golden != now:
        pytest.fail("\n".join([f"{name} does something else; {WRITE}=1 writes its file again", *diff]), pytrace=False)


@pytest.mark.parametrize("name", pass_table.PASSES)
def test_a_golden_file_shows_what_its_pass_changes_and_what_it_leaves_alone(name: str) -> None:
    lines = (GOLDEN / f"{name}.txt").read_text().splitlines()
    titles = [line for line in lines if line.startswith("== ")]
    assert len(set(titles)) == len(titles) >= 3
    assert any(line.startswith("=> modified: ") for line in lines)
    assert any(line.startswith("=> unchanged: ") for line in lines)


def test_no_golden_file_is_of_a_pass_that_is_gone() -> None:
    assert {path.stem for path in GOLDEN.iterdir()} == set(pass_table.PASSES)
