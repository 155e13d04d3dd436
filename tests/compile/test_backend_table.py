"""The table of backends: every row is whole, what isn't in it raises, third parties' backends have a row too."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from dataclasses import replace
from graphlib import TopologicalSorter
from importlib.metadata import version
from pathlib import Path

import pytest

from millwork import toolchains
from millwork.compile.backends import table as backends
from millwork.compile.backends.forms import forms, require_forms
from millwork.compile.backends.row import BackendRow, Form
from millwork.compile.runners import load as runners
from millwork.compile.runners.runner_rows import RUNNERS, RunnerRow
from millwork.errors import InternalError, ModelError, UsageError
from millwork.pipeline import cache_key

ROOT = Path(backends.__file__).resolve().parents[2]
GPU = ("fil-cuda", "native-cuda", "onnx-cuda", "onnx-tensorrt", "tensorrt")

MODULE = """
class Theirs:
    name = "theirs"
    precision = "fp32"
    rank = 5

def backend():
    return Theirs()
"""

METADATA = """Metadata-Version: 2.1
Name: theirs
Version: 1.0
Requires-Dist: numpy>=1.26
Requires-Dist: Their.Engine[fast]>=2; extra == "server"
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a distribution that declares one backend: a real one, as metadata on the path."""

    def install(name: str) -> None:
        folder = tmp_path / "theirs-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text(METADATA)
        (folder / "entry_points.txt").write_text(f"[millwork.backends]\n{name} = their_backend:backend\n")
        (tmp_path / "their_backend.py").write_text(MODULE)
        monkeypatch.syspath_prepend(tmp_path)

    return install


def test_a_third_partys_backend_is_found(installed):
    installed("theirs")
    ours = ("reference", "onnx", "fil", "native", "tensor", "hummingbird", *GPU)
    assert backends.names() == (*ours, "theirs") == backends.known()
    assert backends.find("theirs").rank == backends.rank("theirs") == 5
    assert backends.find_net("theirs", "fp32") is None
    assert ids("theirs") == ["theirs-fp32"]
    assert ids()[-1] == "theirs-fp32"


def test_a_third_partys_package_and_what_it_requires_are_its_engine(installed):
    installed("theirs")
    found = cache_key.engine("theirs")
    assert found["provider"] == "theirs 1.0"
    assert (found["theirs"], found["Their.Engine"]) == ("1.0", "")
    assert "onnxruntime" not in found
    assert cache_key.engine("theirs", "onnx_runner")["onnxruntime"] == version("onnxruntime"), "they may use ours"


def test_a_clash_of_names_is_an_error(installed):
    installed("onnx")
    with pytest.raises(UsageError, match="two backends are called 'onnx': one is from their_backend:backend"):
        backends.names()


def test_an_unknown_backend_is_named_with_the_known_ones():
    with pytest.raises(UsageError, match="unknown backend 'coreml'") as caught:
        backends.find("coreml")
    assert "reference, onnx, fil" in caught.value.hint


def test_what_is_not_in_the_table_raises(installed):
    for ask in (backends.row, backends.find, backends.rank, backends.provider, cache_key.engine):
        with pytest.raises(UsageError, match="unknown backend 'coreml'"):
            ask("coreml")
    with pytest.raises(UsageError, match="unknown backend 'coreml'"):
        backends.find_net("coreml", "fp32")
    with pytest.raises(UsageError, match="unknown backend 'coreml'"):
        forms(("coreml",), (), net=True)
    with pytest.raises(ModelError, match="unknown runner 'ask'"):
        runners.runner("ask")
    with pytest.raises(ModelError, match="unknown runner 'load'"):
        runners.engine_words("load")
    with pytest.raises(ModelError, match="unknown framework 'sklearn'"):
        runners.installed("sklearn")


# ── every row is whole ────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("row", backends.ROWS, ids=lambda row: row.name)
def test_every_row_says_what_the_backend_says(row):
    """Each thunk gives the backend of the row's name, in each of its precisions, and the runners are ours."""
    made = [(row.trees.thunk(precision), precision) for precision in row.trees.precisions] if row.trees else []
    made += [(row.nets.thunk(precision), precision) for precision in row.nets.precisions] if row.nets else []
    assert made
    assert {(one.name, one.precision) for one, _ in made} == {(row.name, precision) for _, precision in made}
    assert len({one.rank for one, _ in made}) == 1, "one rank, whatever the kind of model"
    assert row.runners
    assert row.provider == ""
    if row.toolchain:
        toolchains.named(row.toolchain)


@pytest.mark.parametrize("row", backends.ROWS, ids=lambda row: row.name)
def test_another_version_of_its_engine_is_measured_anew(row, monkeypatch):
    """Each of its engine's distributions is in the key of its verdict and its times, with its version."""
    before = cache_key.engine(row.name)
    assert set(row.distributions) < set(before)
    monkeypatch.setattr(cache_key, "version", lambda _: "1.2.3")
    after = cache_key.engine(row.name)
    assert {after[name] for name in row.distributions} == {"1.2.3"}


def test_every_runner_is_some_backends_and_has_a_file():
    files = {path.stem for path in Path(runners.__file__).parent.glob("*_runner.py")}
    assert files == set(RUNNERS) == {name for row in backends.ROWS for name in row.runners}


def test_what_a_runner_imports_is_a_distribution_that_it_names():
    """What its file imports at once and that is neither Python's nor ours nor numpy."""
    own = {path.stem for path in Path(runners.__file__).parent.glob("*.py")}
    for row in RUNNERS.values():
        top = ast.parse(runners.source(row.name).read_text()).body
        found = {node.module or "" for node in top if isinstance(node, ast.ImportFrom) and not node.level}
        found |= {alias.name for node in top if isinstance(node, ast.Import) for alias in node.names}
        for name in {name.split(".")[0] for name in found} - sys.stdlib_module_names - own - {"numpy"}:
            named = (*row.distributions, *row.more)
            assert any(one.startswith(name) for one in named), f"{row.name} imports {name}"


def test_every_extra_is_one_of_the_projects():
    text = (ROOT / "pyproject.toml").read_text()
    for extra in {row.extra for row in (*backends.ROWS, *RUNNERS.values())} - {""}:
        assert re.search(rf"^{extra} = \[", text, re.MULTILINE), extra


def test_a_row_without_its_engines_distribution_is_refused():
    form = Form(lambda _: backends.find("onnx"))
    with pytest.raises(InternalError, match="the backend toy names no runner, and no distribution of its engine"):
        BackendRow(name="toy", trees=form)
    with pytest.raises(InternalError, match="the runner toy_runner names no distribution of its engine"):
        RunnerRow(name="toy_runner", engine="toy", distributions=())
    with pytest.raises(InternalError, match="'toy_runner', which isn't in the table of runners"):
        BackendRow(name="toy", trees=form, runners=("toy_runner",))
    with pytest.raises(InternalError, match="a form neither for forests nor for nets"):
        replace(backends.row("onnx"), trees=None, nets=None)


def test_a_backend_of_nets_alone_takes_no_forest(monkeypatch):
    """None of ours is; the table has room for one."""
    only = replace(backends.row("onnx"), name="onnx-net", trees=None)
    monkeypatch.setitem(backends.OURS, "onnx-net", only)
    with pytest.raises(UsageError, match="the backend 'onnx-net' takes no forests"):
        backends.find("onnx-net")
    assert "onnx-net" in backends.known()
    assert "onnx-net" not in backends.names()
    assert "onnx-net-int8" in ids(net=True)
    assert "onnx-net-fp32" not in ids()


def test_importing_the_table_imports_no_backend():
    code = """
import sys
import millwork.compile.backends.table, millwork.compile.backends.forms, millwork.pipeline.cache_key
print([name for name in sys.modules if name.startswith("millwork.compile.backends.")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = {name.split(".")[3] for name in ast.literal_eval(done.stdout)}
    assert loaded == {"base", "row", "table", "forms"}


def test_folders_of_backends_import_one_another_one_way():
    """None imports the table: its thunks import them."""
    folder = Path(backends.__file__).parent
    graph: dict[str, set[str]] = {}
    for path in folder.rglob("*.py"):
        inside = path.relative_to(folder).parts
        if len(inside) == 1:
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and node.level == 2:
                names = [node.module] if node.module else [alias.name for alias in node.names]
                found = {name.split(".")[0] for name in names} - {"base"}
                graph.setdefault(inside[0], set()).update(found)
    assert "onnx" in graph["tensor"]
    assert not {"table", "row", "forms"} & set().union(*graph.values())
    list(TopologicalSorter(graph).static_order())


# ── what is built ─────────────────────────────────────────────────────────────────────────────────────────


def ids(*wanted: str, precisions: tuple[str, ...] = (), net: bool = False, gpu: bool = False) -> list[str]:
    return [one.id for one in forms(wanted, precisions, net=net, gpu=gpu)]


def test_what_is_built_where_nobody_says():
    assert ids() == ["reference-fp32", "onnx-fp32", "fil-fp32", "native-fp32", "tensor-fp32"]
    assert ids(gpu=True) == [*ids(), "fil-cuda-fp32", "native-cuda-fp32", *(f"{name}-fp32" for name in GPU[2:])]
    assert ids(net=True) == ["reference-fp32", "onnx-fp32", "onnx-fp16", "onnx-int8"]
    assert ids(net=True, gpu=True)[-8:] == [
        "onnx-cuda-fp32",
        "onnx-cuda-fp16",
        "onnx-tensorrt-fp32",
        "onnx-tensorrt-fp16",
        "onnx-tensorrt-int8",
        "tensorrt-fp32",
        "tensorrt-fp16",
        "tensorrt-int8",
    ]


def test_what_is_named_is_tried_even_if_only_to_say_why_not():
    assert ids(precisions=("fp16",)) == ["tensor-fp16"]
    assert ids("fil", precisions=("fp16",)) == ["fil-fp16"]
    assert ids("tensorrt", net=True) == ["tensorrt-fp32", "tensorrt-fp16", "tensorrt-int8"]
    assert ids("native", net=True) == ["native-fp32"]
    assert ids("hummingbird") == ["hummingbird-fp32"]
    assert ids("tensor", precisions=("fp32", "int32", "int8")) == ["tensor-fp32", "tensor-int32", "tensor-int8"]


def test_nets_have_the_precisions_of_the_row():
    assert backends.net_names() == ("reference", "onnx", "onnx-cuda", "onnx-tensorrt", "tensorrt")
    assert backends.find_net("onnx", "int32") is None
    assert backends.find_net("native", "fp32") is None


@pytest.mark.parametrize(
    ("wanted", "precisions", "net", "phrases"),
    [
        (
            ("fil",),
            (),
            True,
            (
                "--backends fil: this model is a net, which none of these can build",
                "reference, onnx, onnx-cuda, onnx-tensorrt, tensorrt",
            ),
        ),
        (
            ("fil", "native"),
            ("fp32",),
            True,
            ("--backends fil,native: this model is a net, which none of these can build", "onnx"),
        ),
        (
            (),
            ("int32",),
            True,
            (
                "--precision int32: this model is a net, which no backend can build in this precision",
                "fp32, fp16, int8",
            ),
        ),
        (
            ("onnx-cuda",),
            ("int8",),
            True,
            ("which onnx-cuda can't build in this precision", "It can be built in fp32, fp16."),
        ),
        (
            (),
            ("int8",),
            False,
            ("--precision int8: this model is a forest, which no backend", "It can be built in fp32, fp16, int32."),
        ),
        (("native",), ("fp16",), False, ("which native can't build in this precision", "It can be built in fp32.")),
    ],
)
def test_what_no_candidate_could_have_is_a_usage_error(wanted, precisions, net, phrases):
    with pytest.raises(UsageError) as caught:
        require_forms(wanted, precisions, net=net)
    assert phrases[0] in caught.value.message
    assert phrases[1] in caught.value.hint or phrases[1] in caught.value.message


def test_where_one_of_several_fits_the_run_goes_on():
    require_forms(("fil", "onnx"), ("int32", "fp16"), net=True)
    require_forms(("native", "tensor"), ("fp16",), net=False)
    require_forms((), (), net=False)
