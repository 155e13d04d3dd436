"""TensorRT engines as values: what is known of one before it is built, and what one says of itself.

A plan runs where it was built: on that GPU, by that exact TensorRT, unless it was built to be compatible with more.
"""

from __future__ import annotations

from typing import Literal

from .base import Value

Hardware = Literal["NONE", "AMPERE_PLUS", "SAME_COMPUTE_CAPABILITY"]
AMPERE = 8


class Preflight(Value):
    """What is known, without the GPU, of building a candidate's graph for ``target``.

    ``builds``: TensorRT-RTX (``builder``: its version) built it for that compute capability. ``parses``: its parser
    takes every operator, and no more can be known here (``built_for``: what it builds for instead). ``refused``: by
    ``node`` and ``operator``, where they are known. ``unknown``: nothing was asked, or the compiler died. Sizes in
    bytes; None: not told.
    """

    target: str
    compute_capability: str
    verdict: Literal["builds", "parses", "refused", "unknown"]
    reason: str = ""
    node: str = ""
    operator: str = ""
    builder: str = ""
    built_for: str = ""
    build_s: float = 0.0
    bytes: int = 0
    memory_bytes: int | None = None


class PlanFacts(Value):
    """What a plan was built by, on and for. ``build``: TensorRT's exact version; ``gpu``: the device's name;
    ``profiles``: batch sizes, (smallest, tuned for, largest) of each; ``onnx_sha256``: of the graph that it is of."""

    flavour: Literal["tensorrt", "tensorrt_rtx"]
    build: str
    gpu: str
    compute_capability: str
    driver: str
    onnx_sha256: str
    profiles: tuple[tuple[int, int, int], ...]
    hardware: Hardware = "NONE"
    version_compatible: bool = False


class Place(Value):
    """Where a plan is to run. What isn't known is empty, and isn't compared."""

    flavour: str = "tensorrt"
    build: str = ""
    gpu: str = ""
    compute_capability: str = ""


def misfit(plan: PlanFacts, place: Place) -> str:
    """Why ``plan`` doesn't run at ``place``, in one sentence; empty where it does as far as is known."""
    if plan.flavour != place.flavour:
        return f"a plan of {_NAMES[plan.flavour]} can't run on {_NAMES.get(place.flavour, place.flavour)}"
    return _wrong_build(plan, place.build) or _wrong_gpu(plan, place)


_NAMES = {"tensorrt": "TensorRT", "tensorrt_rtx": "TensorRT-RTX"}


def _wrong_build(plan: PlanFacts, build: str) -> str:
    """A version-compatible plan runs by later builds of its major version, any other by its own build alone. A build
    that is known by its first numbers (10.16, a container's) is compared by those."""
    if not build:
        return ""
    wanted, there = plan.build.split("."), build.split(".")
    if plan.version_compatible:
        if wanted[0] == there[0] and _numbers(there) >= _numbers(wanted[: len(there)]):
            return ""
        return (
            f"it was built by TensorRT {plan.build} for this and later versions of {wanted[0]}, "
            f"but the server has {build}"
        )
    if wanted[: len(there)] == there:
        return ""
    return (
        f"it was built by TensorRT {plan.build}, but the server has {build}, and a plan runs only "
        "on the build that made it (build it there, or as a version-compatible plan)"
    )


def _wrong_gpu(plan: PlanFacts, place: Place) -> str:
    wanted, there = plan.compute_capability, place.compute_capability
    made = f"it was built on {plan.gpu} (compute capability {wanted})"
    if plan.hardware == "AMPERE_PLUS" and there:
        return "" if int(there.split(".")[0]) >= AMPERE else f"{made} for Ampere and later, but the server has {there}"
    if there and there != wanted:
        return f"{made}, but the server has {_named(place)}"
    if plan.hardware == "NONE" and place.gpu and place.gpu != plan.gpu:
        return f"{made}, but the server has {place.gpu}, and a plan runs only on the model of GPU that made it"
    return ""


def _named(place: Place) -> str:
    return f"{place.gpu or 'a GPU'} (compute capability {place.compute_capability})"


def _numbers(parts: list[str]) -> tuple[int, ...]:
    return tuple(int(part) if part.isdigit() else 0 for part in parts)
