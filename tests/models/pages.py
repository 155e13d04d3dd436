"""README and docs/ as tests see them: their code blocks, run in a folder of their own, or parsed.

A block's fence says what it is: its language, and after that ``needs=WHAT`` where it can't run here, and ``file=NAME``
where the reader is told to save it. Shell lines run one by one: our commands in this process, all else by bash.
"""

from __future__ import annotations

import ast
import inspect
import json
import re
import runpy
import shlex
import signal
import socket
import subprocess
import sys
import time
import tomllib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import msgspec
from google.protobuf import text_format
from markdown_it import MarkdownIt
from packaging.requirements import Requirement
from tritonclient.grpc import model_config_pb2

import millwork
from millwork.artifacts.repository import at, check_name
from millwork.cli import app
from millwork.pipeline.options import Options
from millwork.pipeline.plan import understand
from millwork.triton import address
from millwork.tuning import slo
from millwork.validators import traffic
from millwork.values import Record

from . import guide, jobs

ROOT = Path(__file__).parent.parent.parent
LANGUAGES = ("python", "sh", "json", "toml", "pbtxt", "dockerfile", "text")
NEEDS = {
    "gpu": "an NVIDIA GPU",
    "store": "an object store with credentials",
    "triton": "a Triton of the reader's own",
    "prometheus": "a Prometheus that scrapes a Triton",
    "download": "hundreds of megabytes from a package index",
    "model": "a model that the guide's tests don't make",
    "backend": "a copy of the package with another backend in it (tests/compile/test_toy_backend.py makes one)",
    "time": "a minute and more, or a machine that does nothing else",
}
"""Why a block is parsed and not run."""
INSTRUCTIONS = ("FROM", "RUN", "COPY", "ENV", "WORKDIR", "CMD", "ENTRYPOINT")
WAIT_S = 120.0


@dataclass(frozen=True)
class Block:
    where: str
    language: str
    words: dict[str, str]
    text: str


def pages() -> list[Path]:
    return [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]


def blocks(page: Path, root: Path = ROOT) -> list[Block]:
    """Every fenced block, in lists and quotes too. AssertionError for an indented one, for a language that no test
    knows, and for a reason that isn't one."""
    found = []
    for token in MarkdownIt("commonmark").parse(page.read_text()):
        where = f"{page.relative_to(root)}:{(token.map or [0])[0] + 1}"
        assert token.type != "code_block", f"{where}: an indented block says no language: give it a fence"
        if token.type != "fence":
            continue
        language, *words = token.info.split() or [""]
        assert language in LANGUAGES, f"{where}: {language or 'no'} language: one of {', '.join(LANGUAGES)}"
        settings = dict(word.split("=", 1) for word in words)
        assert set(settings) <= {"needs", "file"}, f"{where}: {token.info}"
        assert settings.get("needs", "time") in NEEDS, f"{where}: needs={settings['needs']}: one of {', '.join(NEEDS)}"
        found.append(Block(where, language, settings, token.content))
    return found


def lines(text: str) -> Iterator[str]:
    """A shell block's commands, continued lines as one."""
    for line in text.replace("\\\n", " ").splitlines():
        if shlex.split(line, comments=True):
            yield line


def parsed(words: list[str]) -> dict[str, Any]:
    """What the command line makes of a command's words, by its parameters; nothing of it runs. AssertionError for what
    it refuses. (All that a test knows of how commands are declared is here and in :func:`commands`.)"""
    command: Any = app.millwork
    context = None
    rest = list(words[1:] if words[0] == "millwork" else words)
    while True:
        if not hasattr(command, "get_command"):
            context = command.make_context(" ".join(words), rest, parent=context)
            return dict(context.params)
        group, name = command, rest.pop(0)
        command = group.get_command(context, name)
        assert command is not None, f"{group.name} has no command {name}"


def commands() -> dict[str, list[str]]:
    """Every command that runs something, such as ``triton serve``, with the names of its options in the help's
    order."""
    return dict(_commands(app.millwork, ()))


def _commands(group: Any, names: tuple[str, ...]) -> Iterator[tuple[str, list[str]]]:
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "get_command"):
            yield from _commands(command, (*names, name))
        else:
            options = [option for param in command.params for option in param.opts if option.startswith("--")]
            yield " ".join((*names, name)), [option for option in options if option != "--help"]


CHECKS: dict[str, Any] = {
    "traffic": traffic.parse,
    "slo": slo.parse,
    "triton": address.parse,
    "name": check_name,
    "repository": at,
    "objective": slo.objective,
}
"""What a command does first with the texts of its options."""


@dataclass
class Reader:
    """Somebody who follows a page in ``folder``. ``names``: what its Python blocks have found so far."""

    folder: Path
    names: dict[str, Any]
    servers: list[subprocess.Popen[str]] = field(default_factory=list)
    ports: dict[str, str] = field(default_factory=dict)

    def follow(self, block: Block) -> None:
        """Run it, or parse it; AssertionError where that fails."""
        text = re.sub(r"\b8001\b", lambda found: self._port(found[0]), block.text)
        needs = "needs" in block.words
        try:
            match block.language:
                case "python":
                    self._python(block, text, needs)
                case "sh":
                    for line in lines(text):
                        (self.parse if needs else self.run)(line)
                case "json":
                    self._json(text)
                case "toml":
                    tomllib.loads(text)
                case "pbtxt":
                    text_format.Parse(text, model_config_pb2.ModelConfig())
                case "dockerfile":
                    for line in lines(text):
                        assert line.split()[0] in INSTRUCTIONS, line
                case "text":
                    _no_commands(text)
        except Exception as error:
            raise AssertionError(f"{block.where}: {type(error).__name__}: {error}") from error

    def _python(self, block: Block, text: str, needs: bool) -> None:
        code = compile(text, block.where, "exec")
        _known_arguments(text)
        if "file" in block.words:
            (self.folder / block.words["file"]).write_text(text)
        elif not needs:
            exec(code, self.names)  # noqa: S102 -- our own pages

    def _json(self, text: str) -> None:
        if "candidates" in json.loads(text):
            msgspec.json.decode(text, type=Record)

    def run(self, line: str) -> None:
        """One command, which must succeed."""
        words = shlex.split(line, comments=True)
        match words:
            case ["millwork", "triton", "serve", *_]:
                self.parse(line)
                self._serve(words)
            case ["millwork" | "optimize", *_]:
                asked = self.parse(line)
                short = guide.quick() if "optimize" in words[:2] else {}
                more = [f"--{name.replace('_', '-')}={value}" for name, value in short.items() if not asked[name]]
                said = jobs.millwork(*(words[1:] if words[0] == "millwork" else words), *more)
                assert said.code == 0, f"{line}: exit code {said.code}\n{said.err}"
            case ["pip" | "make", *_]:
                self.parse(line)
            case ["python", script]:
                runpy.run_path(str(self.folder / script), run_name="__main__")
            case ["python", *given]:
                ended = subprocess.run([sys.executable, *given], cwd=self.folder, capture_output=True, text=True)
                assert ended.returncode == 0, f"{line}: exit code {ended.returncode}\n{ended.stdout}{ended.stderr}"
            case _:
                ended = subprocess.run(["bash", "-euc", line], cwd=self.folder, capture_output=True, text=True)
                assert ended.returncode == 0, f"{line}: exit code {ended.returncode}\n{ended.stderr}"

    def parse(self, line: str) -> dict[str, Any]:
        """One command, as its program would read it; its options, where it is ours."""
        words = shlex.split(line, comments=True)
        match words:
            case ["pip", "install", *packages]:
                for package in packages:
                    # a clone's own folder, with extras
                    _known_extras(Requirement(re.sub(r"^\.(?=\[|$)", "millwork", package)))
            case ["make", *targets]:
                made = re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)
                assert set(targets) <= set(made), line
            case ["python", script, *_]:
                assert (self.folder / script).exists() or (ROOT / script).exists(), line
            case ["millwork" | "optimize", *_]:
                (self.folder / "tritonserver").mkdir(exist_ok=True)
                words = [word.replace("/opt/tritonserver", str(self.folder / "tritonserver")) for word in words]
                asked = parsed(words)
                for name, check in CHECKS.items():
                    for value in [asked[name]] if isinstance(asked.get(name), str) else []:
                        check(value)
                if "optimize" in words[:2]:
                    understand(Options(**{name: asked[name] for name in Options.__struct_fields__ if name in asked}))
                return asked
            case _:
                subprocess.run(["bash", "-n", "-c", line], check=True)
        return {}

    def _port(self, number: str) -> str:
        """A free port in the place of the page's."""
        if number not in self.ports:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                self.ports[number] = str(free.getsockname()[1])
        return self.ports[number]

    def _serve(self, words: list[str]) -> None:
        """What the reader starts in another terminal; back once it serves."""
        log = self.folder / "serve.log"
        with log.open("w") as out:
            self.servers.append(
                subprocess.Popen(
                    [str(Path(sys.executable).with_name(words[0])), *words[1:]], cwd=self.folder, stderr=out, text=True
                )
            )
        deadline = time.monotonic() + WAIT_S
        while "Ctrl-C" not in log.read_text():
            assert self.servers[-1].poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)


def follow(page: Path, folder: Path, names: dict[str, Any], root: Path = ROOT) -> None:
    """All blocks of a page, in their order. Servers that they start are stopped at the end, by Ctrl-C."""
    reader = Reader(folder, names)
    try:
        for block in blocks(page, root):
            reader.follow(block)
    finally:
        for server in reader.servers:
            server.send_signal(signal.SIGINT)
        for server in reader.servers:
            server.wait(WAIT_S)


def _known_arguments(text: str) -> None:
    """That calls of ``millwork.…`` name arguments that are there."""
    for node in ast.walk(ast.parse(text)):
        if not (isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)):
            continue
        if isinstance(node.func.value, ast.Name) and node.func.value.id == "millwork":
            there = inspect.signature(getattr(millwork, node.func.attr)).parameters
            assert {word.arg for word in node.keywords} <= set(there), ast.unparse(node)


def _known_extras(wanted: Requirement) -> None:
    if wanted.name == "millwork":
        project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
        assert wanted.extras <= set(project["optional-dependencies"]), wanted


def _no_commands(text: str) -> None:
    """What a reader may type isn't hidden among output."""
    for line in text.splitlines():
        assert line.split()[:1] not in (["optimize"], ["millwork"], ["pip"], ["make"], ["python"], ["$"]), line
