"""By what a version is served, in a sentence, and the lines of a Dockerfile for what a stock Triton lacks."""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence

from ..compile.kernel import TRITON_BACKEND, TRITON_LIBRARY
from ..triton.serving import CONTAINER_BACKENDS
from ..values import OtherWay, ServedWay
from ..values.served import Known

IN_THE_IMAGE = frozenset({"numpy"})
"""Python packages that the python backend of Triton's container has."""
CONTAINER_GLIBC = (2, 35)
"""Of Triton's containers: Ubuntu 22.04's; newer releases have a newer one."""
CLEAR = 1.02
"""The other way is worth its lines of a Dockerfile from so many times on."""
HOW_KNOWN: dict[Known, str] = {
    "": "the server must have it",
    "asked": "the server has it",
    "given": "by --millwork-backend, the server has it",
    "recorded": "the repository's last publication noted that the server has it",
}


def served_way(
    triton_backend: str,
    native: str,
    requirements: Sequence[str],
    release: str,
    known: Known = "",
    other: OtherWay | None = None,
    glibc: tuple[int, int] = (0, 0),
) -> ServedWay:
    """``native``: the Triton backend that the file is for; ``requirements``: what the artifact's runner needs in the
    python backend; ``release``: Triton's; ``glibc``: what the version's own library asks for."""
    ours = triton_backend == TRITON_BACKEND
    added = tuple(need for need in requirements if _name(need) not in IN_THE_IMAGE)
    packages = added if triton_backend == "python" else ()
    better = other is not None and other.triton_backend == TRITON_BACKEND and is_better(other)
    newer = f"glibc {glibc[0]}.{glibc[1]}" if glibc > CONTAINER_GLIBC else ""
    sentence = _sentence(triton_backend, native, packages, known, other)
    if newer:
        sentence += f"; its kernel was built here for {newer}, which a stock Triton may lack"
    return ServedWay(
        triton_backend=triton_backend,
        sentence=sentence,
        known=known if ours else "",
        needs=((TRITON_LIBRARY,) if ours else packages) + ((newer,) if newer else ()),
        other=other,
        dockerfile=_dockerfile(release, packages, ours=ours or better),
    )


def is_better(other: OtherWay) -> bool:
    """Whether the other way did better, within the limit."""
    return other.over <= 1 and other.times >= CLEAR


def _sentence(triton_backend: str, native: str, packages: Sequence[str], known: Known, other: OtherWay | None) -> str:
    if triton_backend == TRITON_BACKEND:
        served = f"served by our own Triton backend ({TRITON_LIBRARY}): {HOW_KNOWN[known]}"
    else:
        served = f"served by Triton's {triton_backend} backend"
    if packages:
        served += f", whose Python needs {', '.join(packages)}: a stock Triton's has no such package"
        if native in CONTAINER_BACKENDS and native != "python":
            served += f" (its {native} backend needs none: name your server by --triton, or none)"
    if other is not None:
        return f"{served}; {_other(native, other)}"
    if native == TRITON_BACKEND and triton_backend != TRITON_BACKEND:
        return f"{served}; with our backend: not measured"
    return served


def _other(native: str, other: OtherWay) -> str:
    """``with our backend 3.1 times the rows at the same limit``."""
    who = "our backend" if other.triton_backend == TRITON_BACKEND else f"Triton's {other.triton_backend} backend"
    what = f"with {who}" if native in (TRITON_BACKEND, other.triton_backend) else f"{other.candidate} with {who}"
    if other.over > 1:
        return f"{what} {other.over:.2f} times the limit {other.limit}"
    unit = {"throughput": "the rows", "latency": "as fast", "cost": "as cheap"}.get(other.objective, "as good")
    at = " at the same limit" if other.limit else ""
    noise = ", within this measurement's noise" if other.interval.low <= 1 <= other.interval.high else ""
    return f"{what} {_times(other.times)} times {unit}{at}{noise}"


def _times(value: float) -> str:
    return f"{value:.1f}" if value >= 1.95 else f"{value:.2f}"


def _dockerfile(release: str, packages: Sequence[str], *, ours: bool) -> tuple[str, ...]:
    """Nothing where a stock Triton has all of it."""
    lines: tuple[str, ...] = (f"RUN pip install {' '.join(map(shlex.quote, packages))}",) if packages else ()
    lines += (f"COPY {TRITON_LIBRARY} /opt/tritonserver/backends/{TRITON_BACKEND}/",) if ours else ()
    return (f"FROM tritonserver:{release}-py3", *lines) if lines else ()


def _name(requirement: str) -> str:
    return re.split(r"[^A-Za-z0-9._-]", requirement, maxsplit=1)[0].lower()
