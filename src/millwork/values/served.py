"""By what a version is served, whether a stock Triton has it, and what the other way of serving it gave."""

from __future__ import annotations

from typing import Literal

from .base import Value
from .measurements import Interval

VERIFY_S = 120.0
"""Seconds that a server has to load a version and answer its golden rows, unless somebody says otherwise."""

Known = Literal["", "asked", "given", "recorded"]
"""How it is known that the server has our backend: by a model that named it, by ``--millwork-backend``, by the
repository's last publication; empty where it isn't known."""

Objective = Literal["", "throughput", "latency", "cost"]


class OtherWay(Value):
    """The other way, measured beside what was chosen, in the same rounds. ``times``: how many times as good its figure
    is by the objective (rows/s; how many times as fast, or as cheap); 1 where the two can't be told apart. ``limit``:
    the limit that both were held to, as it was said; ``over``: how many times that limit the other way is."""

    triton_backend: str
    candidate: str
    times: float
    interval: Interval
    objective: Objective = "throughput"
    limit: str = ""
    over: float = 0.0


class ServedWay(Value):
    """``triton_backend`` serves it. ``needs``: what a stock Triton of the release lacks for that, as one installs it
    (Python packages) or calls it (``libtriton_millwork.so``). ``dockerfile``: the two lines of a Dockerfile that bring
    what it needs, or what the other way does. ``sentence``: all of it in one."""

    triton_backend: str
    sentence: str
    known: Known = ""
    needs: tuple[str, ...] = ()
    other: OtherWay | None = None
    dockerfile: tuple[str, ...] = ()
