"""What README and docs say is so: commands, options, exit codes, objectives, links, and every code block."""

from __future__ import annotations

import ast
import functools
import pickle
import re
import shutil
import textwrap
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from conftest import once
from models import guide
from models.pages import ROOT, blocks, commands, follow, pages

import millwork
from millwork import errors
from millwork.compile.frontends import objectives

REFERENCE = ROOT / "docs" / "reference"
CLI = (REFERENCE / "cli.md").read_text()
CODES = (REFERENCE / "exit-codes.md").read_text()
MODELS = (REFERENCE / "models.md").read_text()
PAGES = [*pages(), ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md"]
STARTED_EMPTY = ("tutorial.md",)
"""Pages whose reader has no model yet."""


def named(path: Path) -> str:
    return str(path.relative_to(ROOT))


def sections() -> dict[str, str]:
    """The command line's page by heading."""
    parts = re.split(r"^## (.+)$", CLI, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def test_every_command_is_in_the_docs_and_no_other():
    assert set(sections()) == set(commands()) | {"Environment variables"}


@pytest.mark.parametrize("command", commands())
def test_every_option_is_in_the_docs_and_no_other(command):
    documented = re.findall(r"^\| `(--[a-z-]+)", sections()[command], re.MULTILINE)
    assert sorted(documented) == sorted(commands()[command])
    if command == "optimize":
        assert documented == commands()[command]  # panel by panel, as in its help


def test_exit_codes_are_the_errors_own():
    documented = {
        int(code): name for code, name in re.findall(r"^\| (\d+) \|.*\| `(\w+Error)` \|$", CODES, re.MULTILINE)
    }
    assert documented == {kind.exit_code: kind.__name__ for kind in errors.BY_NAME.values()}


def test_the_objectives_of_the_tables_are_in_the_docs():
    for row, table in (("XGBoost objectives", objectives.XGBOOST), ("CatBoost losses", objectives.CATBOOST)):
        line = next(line for line in MODELS.splitlines() if line.startswith(f"| {row} |"))
        assert set(table) <= set(re.findall(r"[A-Za-z]+(?::[a-z]+)?", line))


@pytest.mark.parametrize("page", PAGES, ids=named)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)]+)\)", page.read_text()):
        path, _, heading = target.partition("#")
        there = (page.parent / path) if path else page
        assert there.exists(), target
        if heading:
            assert heading in anchors(there), target


def anchors(page: Path) -> set[str]:
    """Of its headings, as a link names them."""
    heads = re.findall(r"^#+ (.+)$", page.read_text(), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", head.lower()).replace(" ", "-") for head in heads}


def test_every_page_is_on_the_map():
    index = ROOT / "docs" / "index.md"
    mapped = {(index.parent / target).resolve() for target in re.findall(r"\]\(([^)#]+)\)", index.read_text())}
    assert {path for path in pages() if path.parent != ROOT} - {index} <= mapped


@pytest.mark.parametrize("page", pages(), ids=named)
def test_folders_and_files_that_are_named_are_there(page):
    """Those of the repository; a page of docs/ says ``compile/kernel/``, not ``../compile/kernel/``."""
    tops = "src|compile|passes|validators|artifacts|tests|benchmarks|docs|examples"
    for path in re.findall(rf"`((?:{tops})/[\w./-]*)`", page.read_text()):
        assert (ROOT / path).exists() or path in (NOT_KEPT | ADDED), path


NOT_KEPT = {"compile/kernel/cuda/forest.fatbin"}
"""Made by a build."""
ADDED = {"compile/backends/toy/backend.py", "compile/runners/toy_runner.py"}
"""The worked example's, which a test adds."""


def test_the_worked_example_is_the_one_that_is_tested():
    page = (ROOT / "docs" / "architecture.md").read_text()
    tested = ast.parse((ROOT / "tests" / "compile" / "test_toy_backend.py").read_text())
    added = {
        node.targets[0].id: ast.literal_eval(node.value)
        for node in tested.body
        if isinstance(node, ast.Assign) and isinstance(node.targets[0], ast.Name)
        if node.targets[0].id in ("THUNK", "BACKEND_ROW", "RUNNER_ROW")
    }
    assert len(added) == 3
    for text in added.values():
        assert textwrap.dedent(text).strip().rstrip(",") in page


@pytest.mark.parametrize("page", pages(), ids=named)
def test_every_code_block_says_what_it_is(page):
    assert len(blocks(page)) == len(re.findall(r"^ *```\S", page.read_text(), re.MULTILINE))


WRONG = {
    "an option that isn't there": ("sh needs=gpu", "optimize model.pkl --backend native"),
    "a command that isn't there": ("sh needs=gpu", "millwork deploy model.pkl"),
    "a limit that isn't one": ("sh needs=time", "optimize model.pkl --slo 'p99=5ms'"),
    "a target that isn't there": ("sh needs=gpu", "optimize model.pkl --target b200"),
    "a traffic that isn't one": (
        "sh needs=time",
        "millwork tune churn --repository models --traffic 'batch=1 rate=fast'",
    ),
    "an extra that isn't there": ("sh", "pip install 'millwork[cuda]'"),
    "a target of make that isn't there": ("sh", "make everything"),
    "a command that fails": ("sh", "cat nothing"),
    "one of ours that fails": ("sh", "millwork inspect nothing"),
    "a shell that can't be read": ("sh needs=store", 'eval "$(aws configure'),
    "an argument that isn't there": ("python needs=time", "import millwork\nmillwork.optimize(1, repo='models')"),
    "Python that fails": ("python", "assert False"),
    "a record that isn't one": ("json", '{"candidates": 3}'),
    "a table that isn't one": ("toml", "[my-box"),
    "a configuration that isn't one": ("pbtxt", "instances: 2"),
    "an instruction that isn't one": ("dockerfile", "INSTALL millwork"),
    "a command among output": ("text", "optimize model.pkl"),
    "no language": ("", "optimize model.pkl"),
    "a language that no test knows": ("ruby", "puts 1"),
    "a reason that isn't one": ("sh needs=patience", "optimize model.pkl"),
}


@pytest.mark.parametrize(("info", "text"), WRONG.values(), ids=WRONG)
def test_a_wrong_block_is_found(info, text, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "page.md").write_text(f"```{info}\n{text}\n```\n")
    with pytest.raises(AssertionError, match=r"^page.md:1: "):
        follow(tmp_path / "page.md", tmp_path, {}, tmp_path)


def test_a_block_without_a_fence_is_found(tmp_path):
    (tmp_path / "page.md").write_text("Do this:\n\n    optimize model.pkl\n")
    with pytest.raises(AssertionError, match="indented"):
        blocks(tmp_path / "page.md", tmp_path)


@pytest.fixture(scope="session")
def guided(files, triton_installation, tmp_path_factory) -> Path:
    """What the pages assume. Not to be written to."""
    return once(tmp_path_factory, "guide", lambda folder: guide.make(folder, files))


@pytest.mark.triton
@pytest.mark.parametrize("page", [page for page in pages() if "```" in page.read_text()], ids=named)
def test_code_blocks_run(page, guided, tmp_path, monkeypatch):
    """In their order, in a folder of their own: shortened, but for what they show."""
    folder = tmp_path / "reader"
    if page.name in STARTED_EMPTY:
        folder.mkdir()
    else:
        shutil.copytree(guided, folder)
    monkeypatch.chdir(folder)
    monkeypatch.setattr(millwork, "optimize", shortened(millwork.optimize))
    follow(page, folder, given(folder, page))


def shortened(optimize: Any) -> Any:
    """The same, with what a page's call leaves out set to what takes seconds."""

    @functools.wraps(optimize)
    def short(*arguments: Any, **settings: Any) -> Any:
        quick = {"backends": guide.quick()["backends"], "tune_budget": 0.0, "triton": "none"}
        return optimize(*arguments, **(quick | settings))

    return short


def given(folder: Path, page: Path) -> dict[str, Any]:
    """What a page's reader has at hand when its Python begins."""
    if page.name in STARTED_EMPTY:
        return {}
    return {
        "model": pickle.loads((folder / "model.pkl").read_bytes()),
        "frame": pd.read_parquet(folder / "rows.parquet"),
        "df": pd.DataFrame({"place": [1.0, None]}),
    }
