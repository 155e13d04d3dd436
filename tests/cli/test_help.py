"""What a command line that is asked for help, mistyped, or to be completed says."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from models.jobs import Said, millwork, refused

from millwork.cli import app
from millwork.commands.options import RetuneOptions, TuneOptions
from millwork.pipeline.option import ADVANCED, PANELS, Arg, declared
from millwork.pipeline.options import Options

NAMES = Path(__file__).with_name("names_and_defaults.txt")
BIN = Path(sys.executable).parent


def commands(group: Any = app.millwork, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], Any]]:
    """Every command by its words."""
    for name in group.list_commands(None):
        command = group.get_command(None, name)
        if hasattr(command, "list_commands"):
            yield from commands(command, (*path, name))
        else:
            yield (*path, name), command


COMMANDS = dict(commands())
EVERY = pytest.mark.parametrize("words", COMMANDS, ids=" ".join)


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    """A terminal in which no help is wrapped."""
    monkeypatch.setenv("COLUMNS", "400")


def panels(said: Said) -> dict[str, str]:
    """The help's panels in order: title -> text, without the frame."""
    found = re.findall(r"╭─ (.+?) ─+╮\n(.*?)╰─+╯", said.out, flags=re.DOTALL)
    return {title: re.sub(r"[│\n]", " ", text) for title, text in found}


# ── help ──────────────────────────────────────────────────────────────────────────────────────────────────


@EVERY
def test_every_command_has_help_by_panels(words: tuple[str, ...]) -> None:
    said = millwork(*words, "--help")
    assert (said.code, said.err) == (0, "")
    assert said.out == millwork(*words, "-h").out
    found = panels(said)
    assert set(found) <= {"Arguments", "Options", *PANELS}
    in_order = [title for title in ("Arguments", *PANELS) if title in found]
    assert [title for title in found if title != "Options"] == in_order
    assert "Show this message and exit." in list(found.values())[-1], "--help stands with the last options"
    for param in COMMANDS[words].params:
        assert any(f" {name} " in text for text in found.values() for name in (*param.opts, param.metavar)), param.name
    assert f"Usage: millwork {' '.join(words)} [OPTIONS]" in said.out
    assert "<" not in said.out.replace("p99<5ms", "").replace("memory<2GiB", "").replace("cores<=4", ""), "a type"


def test_what_most_users_need_comes_first() -> None:
    found = panels(millwork("optimize", "--help"))
    assert tuple(found) == ("Arguments", *PANELS)
    firsts = {
        title: re.findall(r"--[a-z-]+", text)[0]
        for title, text in found.items()
        if title not in ("Arguments", ADVANCED)
    }
    assert list(firsts.values()) == ["--data", "--slo", "--target", "--repository"]


def test_help_is_what_the_options_say() -> None:
    for options, command in ((Options, "optimize"), (TuneOptions, "tune"), (RetuneOptions, "retune")):
        found = panels(millwork(command, "--help"))
        for option in declared(options):
            panel = "Arguments" if isinstance(option.said, Arg) else option.said.panel
            assert option.said.help in found[panel], option.name


def test_what_several_commands_have_is_said_once() -> None:
    """The same value of an option, not one of the same text."""
    both = {option.name: option.said for option in declared(Options)}
    shared = {option.name for option in declared(TuneOptions) if both.get(option.name) is option.said}
    credentials = {"triton_ca", "triton_cert", "triton_key", "triton_header", "verify_timeout"}
    assert shared == {"repository", "slo", "traffic", "objective", "millwork_backend"} | credentials


def test_brackets_are_no_markup() -> None:
    assert "float32 [rows, outputs]." in millwork("predict", "--help").out


@pytest.mark.parametrize("words", [(), ("triton",), ("toolchain",)])
def test_a_group_by_itself_shows_its_help(words: tuple[str, ...]) -> None:
    said = millwork(*words)
    assert said.code == 2
    assert f"Usage: {' '.join(('millwork', *words))} [OPTIONS] COMMAND [ARGS]..." in said.out
    assert said.err == ""


def test_names_and_defaults_are_a_contract() -> None:
    """Other programs rely on them. A new option is a new line; a line that changes breaks somebody's script."""
    found = []
    for words, command in COMMANDS.items():
        for param in command.params:
            default = "required" if param.required else repr(param.default)
            kind = "flag" if getattr(param, "is_flag", False) else "several" if param.multiple else "one"
            name = param.metavar if param.param_type_name == "argument" else " ".join(param.opts)
            found.append(f"{' '.join(words)}: {name} {kind} {default}")
    assert sorted(found) == NAMES.read_text().splitlines()


@pytest.mark.parametrize("encoding", ["utf-8", "ascii", "latin-1"])
def test_help_in_any_encoding(encoding: str) -> None:
    variables = dict(os.environ) | {"PYTHONIOENCODING": encoding, "COLUMNS": "80"}
    for command in ("millwork", "optimize"):
        done = subprocess.run([BIN / command, "--help"], capture_output=True, env=variables)
        assert (done.returncode, done.stderr) == (0, b"")
        assert max(map(len, done.stdout.decode(encoding).splitlines())) <= 80


def test_no_colours_where_none_are_wanted() -> None:
    coloured = re.compile(rb"\x1b\[(?:[0-9]+;)*(?:3[0-7]|38|9[0-7])[;m]")
    forced = {key: value for key, value in os.environ.items() if key != "NO_COLOR"} | {
        "FORCE_COLOR": "1",
        "TERM": "xterm",
    }

    def written(**variables: str) -> bytes:
        return subprocess.run(
            [BIN / "millwork", "optimize", "--help"], capture_output=True, env=forced | variables
        ).stdout

    assert coloured.search(written())
    assert not coloured.search(written(NO_COLOR="1"))
    assert b"\x1b" not in written(TERM="dumb")


# ── mistakes ──────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("words", "phrases"),
    [
        (("optimise",), ("No such command 'optimise'; did you mean 'optimize'?", "Commands: optimize, bench")),
        (("triton", "instal"), ("No such command 'instal'; did you mean 'install'?", "Commands: install, status")),
        (("xyz",), ("No such command 'xyz'. Commands: optimize",)),
        (("optimize", "m", "--dta", "x"), ("No such option: --dta; did you mean '--data'",)),
        (("optimize", "m", "--xyz"), ("error: No such option: --xyz\n",)),
        (("optimize", "m", "--target", "h10"), ("unknown target 'h10'; did you mean 'h100'?", "Known targets: host")),
        (("optimize", "m", "--target", "H100x"), ("did you mean 'h100'",)),
        (("optimize", "m", "--target", "abacus"), ("unknown target 'abacus'\n",)),
        (
            ("optimize", "m", "--backends", "fil,onx"),
            ("unknown backend 'onx'; did you mean 'onnx'?", "Known: reference"),
        ),
        (("bench", "m", "--backends", "natve"), ("unknown backend 'natve'; did you mean 'native'",)),
        (("optimize", "m", "--output", "margins"), ("did you mean 'margin'?",)),
        (("toolchain", "install", "hummingbrid"), ("did you mean 'hummingbird'?",)),
    ],
)
def test_what_is_near_a_mistyped_word_is_suggested(words: tuple[str, ...], phrases: tuple[str, ...]) -> None:
    refused(millwork(*words), 2, *phrases)


@pytest.mark.parametrize(
    ("words", "phrase"),
    [
        (("optimize",), "Missing argument 'MODEL'."),
        (("tune", "clicks"), "Missing option '--repository'."),
        (("optimize", "m", "--threads"), "Option '--threads' requires an argument."),
        (("optimize", "m", "--threads", "two"), "Invalid value for '--threads': 'two' is not a whole number."),
        (
            ("tune", "m", "--repository", "r", "--tune-budget", "x"),
            "Invalid value for '--tune-budget': 'x' is not a number.",
        ),
        (("verify", "--version", "1.5"), "'1.5' is not a whole number"),
        (("optimize", "m", "again"), "Got unexpected extra argument(s) (again)"),
        (("optimize", "m", "--dry-run=yes"), "Option '--dry-run' does not take a value."),
    ],
)
def test_what_cannot_be_parsed_says_how_the_command_is_used(words: tuple[str, ...], phrase: str) -> None:
    said = millwork(*words)
    refused(said, 2, f"error: {phrase}" if phrase[0].isupper() else phrase)
    assert f"Usage: millwork {words[0]} [OPTIONS] " in said.err
    assert said.err.endswith(f"Try 'millwork {words[0]} --help' for help.\n")


def test_the_program_optimize_has_its_own_name() -> None:
    done = subprocess.run([BIN / "optimize", "--thread", "2"], capture_output=True, text=True)
    assert done.returncode == 2
    assert "did you mean '--threads'" in done.stderr
    assert "Usage: optimize [OPTIONS] MODEL" in done.stderr


# ── completion ────────────────────────────────────────────────────────────────────────────────────────────


def completed(line: str, shell: str = "bash") -> list[str]:
    """What a shell is told of ``line``, whose last word is the one to complete."""
    words = line.split(" ")
    asked = {
        "_MILLWORK_COMPLETE": f"complete_{shell}",
        "COMP_WORDS": line,
        "COMP_CWORD": str(len(words) - 1),
        "_TYPER_COMPLETE_ARGS": line,
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    done = subprocess.run([BIN / "millwork"], capture_output=True, text=True, env=dict(os.environ) | asked)
    assert done.stderr == ""
    return done.stdout.splitlines()


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("millwork op", ["optimize"]),
        ("millwork triton s", ["status", "serve"]),
        ("millwork optimize m --trust", ["--trust"]),
        ("millwork tune m --triton-", ["--triton-ca", "--triton-cert", "--triton-key", "--triton-header"]),
        ("millwork optimize m --target h", ["host", "h100", "h200"]),
        ("millwork optimize m --backends onnx,ref", ["onnx,reference"]),
        ("millwork tune m --objective ", ["throughput", "latency", "cost"]),
        ("millwork inspect m --task multi", ["multiclass", "multilabel"]),
        ("millwork optimize m --data ", [""]),
    ],
)
def test_a_command_line_is_completed(line: str, expected: list[str]) -> None:
    assert completed(line) == expected


@pytest.mark.parametrize("shell", ["fish", "zsh"])
def test_what_completes_has_a_line_of_help(shell: str) -> None:
    """One only: a shell would take a second for something to complete with."""
    found = completed("millwork tune m --triton-", shell)
    assert len(found) == 4
    assert "Certificates (PEM)" in found[0]


@pytest.mark.parametrize("program", ["millwork", "optimize"])
def test_completion_is_shown_and_installed(program: str, tmp_path: Path) -> None:
    variables = dict(os.environ) | {"HOME": str(tmp_path)}
    shown, installed = (
        subprocess.run(
            ["bash", "-c", f"'{BIN / program}' {option}; exit $?"], capture_output=True, text=True, env=variables
        )
        for option in ("--show-completion", "--install-completion")
    )
    assert shown.returncode == 0, shown.stderr
    assert f"complete -o default -F _{program}_completion {program}" in shown.stdout
    assert installed.returncode == 0, installed.stderr
    assert (tmp_path / ".bash_completions" / f"{program}.sh").read_text() == shown.stdout.rstrip("\n")
    assert f"{program}.sh" in (tmp_path / ".bashrc").read_text()
