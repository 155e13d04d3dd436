"""The limit that a served model must keep: ``p99<5ms, throughput>=3000/s, memory<2GiB, cores<=4, refused<1%``.

p99<5ms             so much of the requests' time, seen by the client: any p50 … p99.9; us, ms or s
throughput>=3000/s  requests answered a second; >=3000rows/s counts rows
memory<2GiB         what the model adds to the server's resident memory; KiB, MiB, GiB
cores<=4            CPU cores that the server keeps busy under this traffic
refused<1%          requests that may be refused under overload; without it none may
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Literal

from ..errors import UsageError
from ..values import Value

Quantity = Literal["latency", "requests", "rows", "memory", "cores", "refused"]
Objective = Literal["throughput", "latency", "cost"]
OBJECTIVES: tuple[Objective, ...] = ("throughput", "latency", "cost")

EXAMPLE = "Example: --slo 'p99<5ms, throughput>=3000/s, memory<2GiB, cores<=4'."
SECONDS = {"us": 1.0, "µs": 1.0, "ms": 1e3, "s": 1e6}
"""Microseconds in a unit of time."""
BYTES = {"KiB": 2.0**10, "MiB": 2.0**20, "GiB": 2.0**30}
_CLAUSE = re.compile(r"([a-z]+[0-9.]*)(<=|>=|<|>)(\d{1,12}(?:\.\d{1,9})?)([A-Za-zµ%/]*)")


class Limit(Value):
    """One clause. ``bound``: microseconds, a second, bytes, cores or a share; a floor where ``least``, else a ceiling.

    ``quantile``: of the latency, 0.99 for p99.
    """

    text: str
    quantity: Quantity
    bound: float
    quantile: float = 0.0
    least: bool = False

    def over(self, value: float) -> float:
        """How many times the bound is missed: 1.2 is 20% beyond it, 1 and below keeps it."""
        if self.least:
            return self.bound / value if value > 0 else float("inf")
        return value / self.bound if self.bound > 0 else (float("inf") if value > 0 else 1.0)


class Slo(Value):
    """All clauses; none: no limit but that nothing may be refused."""

    limits: tuple[Limit, ...] = ()

    @property
    def words(self) -> str:
        return ", ".join(limit.text for limit in self.limits)

    @property
    def quantile(self) -> float:
        """The latency quantile that matters: the first clause's, else p99."""
        return next((limit.quantile for limit in self.limits if limit.quantity == "latency"), 0.99)

    @property
    def quantiles(self) -> tuple[float, ...]:
        """Each latency quantile that a clause is about, p99 where none is."""
        return tuple(limit.quantile for limit in self.limits if limit.quantity == "latency") or (0.99,)

    @property
    def latency(self) -> Limit | None:
        return next((limit for limit in self.limits if limit.quantity == "latency"), None)

    @property
    def refused(self) -> float:
        """The share of requests that may be refused."""
        return next((limit.bound for limit in self.limits if limit.quantity == "refused"), 0.0)

    @property
    def of_the_server(self) -> tuple[Limit, ...]:
        """What can only be seen where the server's processes are."""
        return tuple(limit for limit in self.limits if limit.quantity in ("memory", "cores"))


def parse(spec: str) -> Slo:
    """The limits in ``spec``, separated by commas or spaces; UsageError where one isn't a limit."""
    parts = [part for part in re.split(r"[,\s]+", re.sub(r"\s*(<=|>=|<|>)\s*", r"\1", spec.strip())) if part]
    if not parts:
        raise UsageError(f"--slo {spec!r}: expected at least one limit", EXAMPLE)
    limits = tuple(_limit(part) for part in parts)
    names = [(limit.quantity, limit.quantile) for limit in limits]
    for limit, name in zip(limits, names, strict=True):
        if names.count(name) > 1:
            raise UsageError(f"--slo {spec!r}: {limit.text} and another limit are for the same figure", EXAMPLE)
    return Slo(limits=limits)


def objective(text: str) -> Objective:
    """``throughput``, ``latency`` or ``cost``."""
    for known in OBJECTIVES:
        if text == known:
            return known
    raise UsageError(f"--objective {text!r}: expected {', '.join(OBJECTIVES)}")


def _limit(part: str) -> Limit:
    found = _CLAUSE.fullmatch(part)
    if found is None:
        raise UsageError(f"--slo: {part!r} isn't a limit", EXAMPLE)
    name, sign, number, unit = found.groups()
    if name.startswith("p") and name[1:2].isdigit():
        return _latency(part, name, sign, float(number), unit)
    if name not in _CLAUSES:
        raise UsageError(f"--slo: {part!r}: there is no limit called {name!r}", EXAMPLE)
    least, read = _CLAUSES[name]
    if sign.startswith(">") != least:
        raise UsageError(f"--slo: {part!r}: {name} takes {'>=' if least else '<'}", EXAMPLE)
    quantity, factor = read(part, unit)
    return Limit(text=part, quantity=quantity, bound=_positive(part, float(number)) * factor, least=least)


def _latency(part: str, name: str, sign: str, number: float, unit: str) -> Limit:
    if not re.fullmatch(r"p\d{1,2}(\.\d{1,3})?", name) or not 1 <= float(name[1:]) < 100:
        raise UsageError(
            f"--slo: {part!r}: {name} isn't a percentile", "Expected p1 to p99.999, such as p50, p99 or p99.9."
        )
    if sign.startswith(">"):
        raise UsageError(f"--slo: {part!r}: {name} takes <", EXAMPLE)
    if unit not in SECONDS:
        raise UsageError(f"--slo: {part!r}: expected a time with its unit (us, ms or s)", EXAMPLE)
    return Limit(
        text=part, quantity="latency", bound=_positive(part, number) * SECONDS[unit], quantile=float(name[1:]) / 100
    )


def _positive(part: str, number: float) -> float:
    if number <= 0:
        raise UsageError(f"--slo: {part!r}: expected a number above 0", EXAMPLE)
    return number


def _throughput(part: str, unit: str) -> tuple[Quantity, float]:
    if unit == "/s":
        return "requests", 1.0
    if unit == "rows/s":
        return "rows", 1.0
    raise UsageError(f"--slo: {part!r}: expected requests (/s) or rows (rows/s) a second", EXAMPLE)


def _memory(part: str, unit: str) -> tuple[Quantity, float]:
    if unit not in BYTES:
        raise UsageError(f"--slo: {part!r}: expected {', '.join(BYTES)}", EXAMPLE)
    return "memory", BYTES[unit]


def _cores(part: str, unit: str) -> tuple[Quantity, float]:
    if unit:
        raise UsageError(f"--slo: {part!r}: cores have no unit", EXAMPLE)
    return "cores", 1.0


def _refused(part: str, unit: str) -> tuple[Quantity, float]:
    if unit != "%":
        raise UsageError(f"--slo: {part!r}: expected a share of the requests in %", EXAMPLE)
    return "refused", 0.01


_CLAUSES: dict[str, tuple[bool, Callable[[str, str], tuple[Quantity, float]]]] = {
    "throughput": (True, _throughput),
    "memory": (False, _memory),
    "cores": (False, _cores),
    "refused": (False, _refused),
}
"""Name -> whether it is a floor, and what its unit means."""
