"""What holds the layout together: imports go one way, the links point at their folders, the wheel holds all of it."""

from __future__ import annotations

import ast
import importlib
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGE = ROOT / "src" / "millwork"
LINKED = ("compile", "passes", "validators", "artifacts")
HEAVY = ("torch", "tensorrt", "onnxruntime", "xgboost", "catboost", "treelite")

LAYERS = (
    # what a step needs to run at all
    ("", "values", "errors", "gpus", "targets", "storage", "step_protocol", "worker", "executors", "environments",
     "environment_files", "toolchains", "triton_releases", "progress", "units", "interrupts"),
    ("passes",),
    ("compile",),
    ("validators", "triton"),
    ("artifacts",),
    ("tuning",),
    ("pipeline",),
    ("commands", "export_net", "api"),
    ("cli",),
)  # fmt: skip
"""The import order, lowest first, by the first part of a module's name; "" is the package itself (its version)."""

RANK = {name: rank for rank, layer in enumerate(LAYERS) for name in layer}

SCRIPTS = ("worker.start",)
"""Run by their path, so that they have no package to be relative to."""

LONGEST_MODULE, LONGEST_FUNCTION, MOST_PARAMETERS = 400, 50, 8
TOO_LONG = {
    "export_net.save_net",  # its keywords are public
}
"""Functions that may be longer, or take more."""


def modules() -> dict[str, Path]:
    """Every module of the package by its dotted name without ``millwork.``; the package itself is ""."""
    found = {}
    for folder, _, files in os.walk(PACKAGE, followlinks=True):
        for path in (Path(folder, file) for file in files if file.endswith(".py")):
            parts = path.relative_to(PACKAGE).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


MODULES = modules()


def imports(name: str, *, for_types: bool = True) -> Iterator[tuple[int, str]]:
    """(line, module of ours) for each import in the module, also those inside its functions.

    ``for_types``: those under ``if TYPE_CHECKING`` too.
    """
    path = MODULES[name]
    package = [*name.split("."), ""] if path.name == "__init__.py" and name else name.split(".")
    tree = ast.parse(path.read_text())
    left_out = set() if for_types else {id(node) for block in _for_types(tree) for node in ast.walk(block)}
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and id(node) not in left_out:
            base = ".".join(package[: -node.level]) if node.level else "millwork"
            whole = f"{base}.{node.module or ''}".strip(".") if node.level else f"{node.module}"
            if not node.level and whole.split(".")[0] != "millwork":
                continue
            whole = whole.removeprefix("millwork").strip(".")
            for alias in node.names:
                inner = f"{whole}.{alias.name}".strip(".")
                yield node.lineno, inner if inner in MODULES else whole


def absolute(name: str) -> Iterator[int]:
    """The lines that import from ``millwork`` by its name."""
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        names = [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
        if isinstance(node, ast.ImportFrom) and not node.level:
            names = [node.module or ""]
        if any(name.split(".")[0] == "millwork" for name in names):
            yield node.lineno


def _for_types(tree: ast.Module) -> Iterator[ast.If]:
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and isinstance(node.test, ast.Name) and node.test.id == "TYPE_CHECKING":
            yield node


def test_every_module_has_its_place_in_the_order() -> None:
    unplaced = {name.split(".")[0] for name in MODULES} - set(RANK)
    assert not unplaced, "name them in LAYERS"
    assert set(RANK) == {name.split(".")[0] for name in MODULES}, "LAYERS names modules that aren't there"


@pytest.mark.parametrize("name", [name for name in MODULES if name])
def test_imports_go_one_way(name: str) -> None:
    rank = RANK[name.split(".", maxsplit=1)[0]]
    against = [
        f"{MODULES[name]}:{line} imports {imported}"
        for line, imported in imports(name)
        if RANK[imported.split(".")[0]] > rank
    ]
    assert not against, "\n".join(against)


def test_imports_inside_the_package_are_relative() -> None:
    """A module reached by two paths has two identities."""
    named = {name: lines for name in MODULES if (lines := list(absolute(name)))}
    assert set(named) == set(SCRIPTS), named


def test_no_module_imports_itself_through_others() -> None:
    """The package itself apart: it is imported before all else, and imports ``optimize`` only when asked for it."""
    graph = {name: {to for _, to in imports(name, for_types=False) if to and to != name} for name in MODULES if name}
    assert len(list(TopologicalSorter(graph).static_order())) == len(graph)


def test_the_package_itself_imports_little() -> None:
    """Every worker imports it."""
    tree = ast.parse(MODULES[""].read_text())
    top = {node.module for node in tree.body if isinstance(node, ast.ImportFrom) and node.level}
    assert top == {"errors"}


# ── cli/X.py parses, commands/X.py or pipeline/X.py does ─────────────────────────────────────────────────

COMMANDS = sorted(path.stem for path in (PACKAGE / "cli").glob("*.py") if "\n@command(" in path.read_text())
"""The modules of cli/ that have a command each, or a group of them; the others are what those have in common."""

DOES = {name: next((room for room in ("commands", "pipeline") if f"{room}.{name}" in MODULES), "") for name in COMMANDS}
DOES["toolchain"] = "toolchains"
"""Where what a command does is done. The one exception, ``toolchain``: a table that compile/ uses, too."""

PARSES_WITH = {
    "",
    "api",
    "cli",
    "commands",
    "errors",
    "interrupts",
    "pipeline",
    "progress",
    "toolchains",
    "units",
    "values",
}
SHOWS_WITH = "artifacts.report"
"""All that a module of cli/ may import; of artifacts/ only how the report says things."""


def test_every_command_has_its_module() -> None:
    from millwork.cli.app import COMMANDS as REGISTERED

    assert set(COMMANDS) == set(REGISTERED)


@pytest.mark.parametrize("name", COMMANDS)
def test_what_a_command_does_is_not_in_the_command_line(name: str) -> None:
    does = DOES[name] if DOES[name] not in ("commands", "pipeline") else f"{DOES[name]}.{name}"
    assert does in MODULES, f"cli/{name}.py parses; what does? Write commands/{name}.py"
    assert does in {to for _, to in imports(f"cli.{name}", for_types=False)}


@pytest.mark.parametrize("name", [name for name in MODULES if name.split(".")[0] == "cli"])
def test_the_command_line_only_parses_and_shows(name: str) -> None:
    others = [
        f"{MODULES[name]}:{line} imports {to}"
        for line, to in imports(name, for_types=False)
        if to.split(".")[0] not in PARSES_WITH and to != SHOWS_WITH and not to.startswith(f"{SHOWS_WITH}.")
    ]
    assert not others, "\n".join(others)


@pytest.mark.parametrize("name", LINKED)
def test_links(name: str) -> None:
    link = PACKAGE / name
    assert link.is_symlink(), f"{link}: this checkout has no symbolic links (git config core.symlinks true)"
    assert str(link.readlink()) == f"../../{name}", "relative, so that a checkout can be moved"
    assert link.resolve() == ROOT / name
    assert (link / "__init__.py").is_file()


def test_the_command_line_imports_no_framework() -> None:
    code = f"""
import sys
import millwork.cli.app as app
for command in app.COMMANDS:
    app.millwork.get_command(None, command)
assert app.run(app.millwork, ["--help"]) == 0
assert app.run(app.millwork, ["optimize", "--help"]) == 0
print("heavy:", [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
import millwork.api, millwork.commands.doctor, millwork.pipeline.optimize, millwork.commands.predict
print("heavy:", [name for name in {HEAVY!r} if name in sys.modules], file=sys.stderr)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines() == ["heavy: []", "heavy: []"]
    assert "optimize" in done.stdout


NOT_FOR_HELP = ("numpy", "pyarrow", "jinja2", "pydantic", "millwork.compile", "millwork.worker", "millwork.cli.tune")
FOR_HELP = ("typer.rich_utils", "rich.markdown", "rich.traceback")


@pytest.mark.parametrize(
    ("words", "code", "never"),
    [
        (["optimize", "--help"], 0, NOT_FOR_HELP),
        (["optimize"], 2, FOR_HELP),
        (["report", "nothing"], 2, (*FOR_HELP, "millwork.cli.optimize", "millwork.pipeline.optimize")),
        (["toolchain", "install", "nothing"], 2, (*FOR_HELP, "millwork.compile", "millwork.cli.triton")),
        (["--version"], 0, (*FOR_HELP, "millwork.pipeline.options")),
    ],
)
def test_a_command_imports_what_it_uses(words: list[str], code: int, never: tuple[str, ...]) -> None:
    """Another command's module isn't imported, nor, without --help, what only help needs."""
    program = f"""
import sys
from millwork.cli import app
assert app.run(app.millwork, {words!r}) == {code}
sys.stdout = sys.stderr = open("/dev/stdout", "w")
print("imported:", [name for name in {never!r} if name in sys.modules])
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert done.stdout.splitlines()[-1] == "imported: []", done.stdout + done.stderr


@pytest.mark.parametrize("name", MODULES, ids=lambda name: name or "millwork")
def test_modules_stay_short(name: str) -> None:
    lines = len(MODULES[name].read_text().splitlines())
    assert lines <= LONGEST_MODULE, f"{MODULES[name]}: {lines} lines; one idea a module"


def functions(name: str) -> Iterator[tuple[str, int, int]]:
    """(name, lines, parameters but ``self``) of each function in the module, inner ones too."""
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs, node.args.vararg, node.args.kwarg]
            taken = [one for one in given if one is not None and one.arg not in ("self", "cls")]
            yield f"{name}.{node.name}", (node.end_lineno or node.lineno) - node.lineno + 1, len(taken)


def test_functions_stay_short_and_take_little() -> None:
    """What belongs together is a value, and a long function has parts that have names."""
    every = [found for name in MODULES for found in functions(name)]
    over = {name for name, lines, taken in every if lines > LONGEST_FUNCTION or taken > MOST_PARAMETERS}
    assert over - TOO_LONG == set(), f"above {LONGEST_FUNCTION} lines or {MOST_PARAMETERS} parameters"
    assert TOO_LONG - over == set(), "these are short by now: take them off the list"


# ── the build ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of what a build reads, so that none of its leavings land in the real one."""
    copy = tmp_path / "checkout"
    ignore = shutil.ignore_patterns("__pycache__", "*.egg-info", "*.so")
    for name in ("src", *LINKED):
        shutil.copytree(ROOT / name, copy / name, symlinks=True, ignore=ignore)
    for name in ("pyproject.toml", "setup.py", "README.md", "LICENSE"):
        shutil.copy(ROOT / name, copy)
    return copy


def build(checkout: Path, out: Path) -> subprocess.CompletedProcess[str]:
    """As a user would: ``pip wheel``, in an isolated environment; the kernel in a hurry, since nobody runs it."""
    command = [sys.executable, "-m", "pip", "wheel", "--quiet", "--no-deps", "--wheel-dir", str(out), str(checkout)]
    return subprocess.run(
        command,
        capture_output=True,
        text=True,
        cwd=checkout.parent,
        env={**os.environ, "PYTHONSAFEPATH": "1", "CXXFLAGS": "-O0"},
    )


def test_the_wheel_holds_everything(checkout: Path, tmp_path: Path) -> None:
    done = build(checkout, tmp_path / "dist")
    assert done.returncode == 0, done.stderr
    (wheel,) = (tmp_path / "dist").glob("millwork-*.whl")
    with zipfile.ZipFile(wheel) as archive:
        packed = set(archive.namelist())
        text = archive.read(next(name for name in packed if name.endswith("entry_points.txt"))).decode()
    wanted = {path.relative_to(PACKAGE).as_posix() for path in MODULES.values()}
    wanted |= {
        "py.typed",
        "artifacts/triton_python/model.py",
        "compile/runners/ask.py",
        "compile/kernel/cuda/forest.cu",
    }
    report = PACKAGE / "artifacts" / "report"
    wanted |= {f"artifacts/report/{path.name}" for path in report.iterdir() if path.suffix in {".j2", ".css", ".js"}}
    lacking = {f"millwork/{name}" for name in wanted} - packed
    assert not lacking
    strangers = {name.split("/")[0] for name in packed} - {
        "millwork",
        "-".join(wheel.name.split("-")[:2]) + ".dist-info",
    }
    assert not strangers, "nothing else may land in site-packages"
    assert "millwork = millwork.cli:main" in text
    assert "optimize = millwork.cli:optimize_main" in text


def test_a_checkout_without_links_is_not_built(checkout: Path, tmp_path: Path) -> None:
    """Where git can't make links it writes text files in their place: a wheel without four packages."""
    for name in LINKED:
        link = checkout / "src" / "millwork" / name
        link.unlink()
        link.write_text(f"../../{name}")
    done = build(checkout, tmp_path / "dist")
    assert done.returncode != 0
    assert "src/millwork/compile: expected a link to ../../compile" in done.stderr
    assert "core.symlinks" in done.stderr
    assert not list((tmp_path).glob("dist/*"))


def steps_named() -> dict[str, str]:
    """Every ``millwork.module:function`` that the sources name as a text, and the module that does."""
    named = re.compile(r"\"(millwork\.[a-z_.]+:[a-z_]+)\"")
    return {step: name for name, path in MODULES.items() for step in named.findall(path.read_text())}


@pytest.mark.parametrize(("step", "namer"), steps_named().items())
def test_steps_are_there(step: str, namer: str) -> None:
    """A step is named by a text, which no type checker follows when its module moves."""
    module, _, function = step.partition(":")
    assert callable(getattr(importlib.import_module(module), function)), f"{namer} names it"


# ── opening by name ───────────────────────────────────────────────────────────────────────────────────────

OPENS = {"open", "read_bytes", "read_text", "fromfile", "mmap"}
"""What opens a file by its name; and ``np.load`` of a name."""

OPEN_THEMSELVES = {
    "cli.early": "/dev/null, where a standard stream was closed",
    "artifacts.repository.flock": "a lock that is there, without following a link or waiting",
    "interrupts": "/dev/null, where a terminal has hung up",
    "storage.opening": "it is the one way",
    "storage.files": "folders, to sync and to remove them; and new files, which nobody can have made before",
    "storage.permissions": "what is there, to give it a mode; and new files",
    "worker.process": "a new log, which nobody can have made before",
    "worker.sandbox": "paths, to grant them; no content is read",
    "worker.memory": "what the kernel says of a control group",
    "environment_files": "what the kernel says of a process",
    "artifacts.repository.layout": "paths, to know their mounts; no content is read",
    "artifacts.client": "the package's own files",
    "cli.console": "/dev/null",
    "triton.supervisor": "/dev/null",
    "storage.archives": "an array, which is mapped by its name once it is known to be a regular file",
    "compile.kernel": "the package's own library",
    "compile.kernel.build_cuda": "a tool of ours, for our own sources",
    "artifacts.triton_python.model": "it runs in a server, without us",
    "compile.backends.hummingbird.convert_script": "it runs without us, on what was looked at",
    "compile.backends.tensorrt.preflight_script": "it runs without us, on what was looked at",
}
IN_A_STEP = ("compile.runners", "compile.backends", "compile.precision", "passes", "validators.gate_steps")
"""What runs within a step, on files that were looked at before it."""
OTHER_OPENS = {"archive", "opener", "opening", "queue", "resources", "urllib"}
"""What else has an ``open``: a zip's member, a request, a stage of a model of queues."""


def opened_by_name(name: str) -> Iterator[tuple[int, str]]:
    """(line, call) for what the module opens itself, but for what the kernel says in /proc."""
    for node in ast.walk(ast.parse(MODULES[name].read_text())):
        if not isinstance(node, ast.Call):
            continue
        called, text = node.func, ast.unparse(node.func)
        attribute = called.attr if isinstance(called, ast.Attribute) else getattr(called, "id", "")
        given = ast.unparse(node.args[0]) if node.args else ""
        opens = (attribute in OPENS and text != "read_text") or (text == "np.load" and given != "file")
        if opens and "Path('/proc" not in text and text.split(".")[0].split("(")[0] not in OTHER_OPENS:
            yield node.lineno, text


@pytest.mark.parametrize("name", [name for name in MODULES if not name.startswith(IN_A_STEP)])
def test_files_are_opened_by_the_one_function(name: str) -> None:
    """A pipe would be waited for, a link written through, a file of holes read whole."""
    found = [f"{MODULES[name]}:{line} {call}" for line, call in opened_by_name(name)]
    assert name in OPEN_THEMSELVES or not found, "\n".join(found)
