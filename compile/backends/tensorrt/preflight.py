"""Preflight: does a typed graph build for a GPU that isn't here? TensorRT-RTX answers, on any CPU.

It has the parser and the compiler of TensorRT and needs no GPU to build for compute capabilities 7.5, 8.0, 8.6, 8.9 and
12.x. Its engines aren't Triton's: what is kept is the answer. What it can't answer is said: it has no code for 9.0 and
10.0 (H100, B200), and compiles float16 alone for 7.5 (T4), where TensorRT itself compiles float32 too.
"""

from __future__ import annotations

import contextlib
import importlib.util
import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Annotated

import msgspec

from .... import toolchains, worker
from ....targets import Target
from ....values import Value
from ....values.tensorrt_plan import Preflight
from ....worker import Limits
from .profiles import Profile

TOOLCHAIN, MODULE = "tensorrt-rtx", "tensorrt_rtx"
SCRIPT = Path(__file__).with_name("preflight_script.py")
TURING, TURING_REFUSES = "7.5", "for Turing"
TREES = "ai.onnx.ml"


class Figures(Value):
    """Of an engine that was built: ``memory`` bytes on the GPU, None where nothing is said of it."""

    seconds: float
    bytes: int
    memory: int | None


class Problem(Value):
    message: str
    node: str = ""
    operator: str = ""


class Refused(Value):
    stage: str
    problems: Annotated[tuple[Problem, ...], msgspec.Meta(min_length=1)]


class Reply(Value):
    """What preflight_script.py answers. ``capability``: what it built for."""

    version: str
    capabilities: tuple[str, ...]
    capability: str
    built: Figures | None
    refused: Refused | None
    layers: int


def interpreter() -> str | None:
    """A Python that has TensorRT-RTX: this one, or the toolchain's; None where there is none."""
    if importlib.util.find_spec(MODULE) is not None:
        return sys.executable
    environment = toolchains.find(TOOLCHAIN)
    return None if environment is None else str(environment.python)


def ask(
    onnx: Path,
    target: Target,
    profiles: Sequence[Profile],
    folder: Path,
    python: str,
    limits: Limits,
    *,
    confined: bool = True,
) -> Preflight:
    """The answer for the graph in ``onnx`` and a GPU target, asked of ``python``'s TensorRT-RTX in a process of its own
    that works in ``folder``. A compiler that crashes or hangs is an answer, too: ``unknown``."""
    capability = target.compute_capability or ""
    request = {"onnx": str(onnx), "capability": capability, "profiles": [list(profile) for profile in profiles]}
    (folder / "request.json").write_text(json.dumps(request))
    done = worker.run_script(
        SCRIPT,
        [str(folder / "request.json")],
        python=python,
        folder=folder,
        limits=limits,
        sandbox=worker.Sandbox(reads=(onnx,), on=confined),
    )
    with contextlib.suppress(OSError):  # the process may have done anything to it
        (folder / "request.json").unlink()
    reply = done if isinstance(done, worker.Failure) else worker.read_reply(done, Reply)
    if isinstance(reply, worker.Failure):
        return unknown(target, f"TensorRT-RTX failed: {reply.message}")
    return judge(reply, target)


def judge(reply: Reply, target: Target) -> Preflight:
    """What TensorRT-RTX's answer says of ``target``."""
    asked = target.compute_capability or ""
    found = Preflight(target=target.name, compute_capability=asked, verdict="builds", builder=reply.version)
    if reply.built is not None:
        found = msgspec.structs.replace(
            found, build_s=round(reply.built.seconds, 3), bytes=reply.built.bytes, memory_bytes=reply.built.memory
        )
    problem = reply.refused.problems[0] if reply.refused is not None else Problem(message="")
    if reply.refused is not None and reply.refused.stage == "parse":
        return msgspec.structs.replace(
            found,
            verdict="refused",
            reason=_words(reply.refused.problems),
            node=problem.node,
            operator=problem.operator,
        )
    if reply.capability != asked:
        outcome = f"it builds for {reply.capability}" if reply.built else f"for {reply.capability}: {problem.message}"
        return msgspec.structs.replace(
            found,
            verdict="parses",
            built_for=reply.capability if reply.built else "",
            reason=f"TensorRT-RTX has no code for {asked}: its parser accepts every operator, and {outcome}",
        )
    if reply.refused is None:
        return found
    if asked == TURING and TURING_REFUSES in problem.message:
        return msgspec.structs.replace(
            found,
            verdict="parses",
            node=problem.node,
            operator=problem.operator,
            reason=f"TensorRT-RTX compiles only float16 for {asked} ({problem.message}): its parser accepts every "
            "operator, but only the GPU itself can show that it builds",
        )
    return msgspec.structs.replace(
        found, verdict="refused", reason=_words(reply.refused.problems), node=problem.node, operator=problem.operator
    )


def not_plain(target: Target, operators: Iterable[str]) -> Preflight:
    """A graph with operators of ai.onnx.ml: TensorRT has none of them."""
    names = ", ".join(operators)
    return Preflight(
        target=target.name,
        compute_capability=target.compute_capability or "",
        verdict="refused",
        reason=f"not for TensorRT: {names} ({TREES})",
        operator=names,
    )


def unknown(target: Target, reason: str) -> Preflight:
    return Preflight(
        target=target.name, compute_capability=target.compute_capability or "", verdict="unknown", reason=reason
    )


def words(found: Preflight) -> str:
    """An answer in a line."""
    if found.verdict != "builds":
        return found.reason
    parts = [f"{found.build_s:.1f} s", f"{found.bytes / 2**20:.1f} MiB"]
    if found.memory_bytes is not None:
        parts.append(f"{found.memory_bytes / 2**20:.1f} MiB of its memory")
    return (
        f"builds for {found.target} (compute capability {found.compute_capability}; TensorRT-RTX {found.builder}: "
        f"{', '.join(parts)})"
    )


def _words(problems: Sequence[Problem]) -> str:
    """The first problem whole, and how many more there are."""
    first = problems[0]
    who = f"{first.operator or 'operator'} {first.node!r}: " if first.node or first.operator else ""
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return f"{who}{first.message}{more}"
