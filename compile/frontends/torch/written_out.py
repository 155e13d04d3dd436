"""Operators of torch that the exporter knows no ONNX for, or whose own arithmetic can't be had by its translation, in
terms of others that it knows: as torch functions, which torch itself then traces."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch.export import ExportedProgram

aten = torch.ops.aten
Tensor = torch.Tensor
LONGEST = 256
"""Steps along an axis that are written one by one."""


def _steps(x: Tensor, dim: int) -> list[Tensor]:
    size = x.shape[dim]
    if not isinstance(size, int) or size > LONGEST:
        raise ValueError(f"an axis of {size} is too long to be written step by step (at most {LONGEST})")
    return list(x.unbind(dim))


def _running(combine: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., Tensor]:
    def run(x: Tensor, dim: int, *, dtype: Any = None) -> Tensor:
        found: list[Tensor] = []
        for step in _steps(x if dtype is None else x.to(dtype), dim):
            found.append(combine(found[-1], step) if found else step)
        return torch.stack(found, dim)

    return run


def _running_extreme(better: Callable[[Tensor, Tensor], Tensor]) -> Callable[..., tuple[Tensor, Tensor]]:
    """The later one of two equals, and NaN from where there is one on."""

    def run(x: Tensor, dim: int) -> tuple[Tensor, Tensor]:
        values: list[Tensor] = []
        places: list[Tensor] = []
        for k, step in enumerate(_steps(x, dim)):
            here = torch.full_like(step, k, dtype=torch.int64)
            if values:
                takes = step.isnan() | (better(step, values[-1]) & ~values[-1].isnan())
                here = torch.where(takes, here, places[-1])
            values.append(torch.where(takes, step, values[-1]) if values else step)
            places.append(here)
        return torch.stack(values, dim), torch.stack(places, dim)

    return run


def median(x: Tensor, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    """The lower of two in the middle; NaN and its place where there is one."""
    values, places = x.sort(dim=dim)
    middle = (x.shape[dim] - 1) // 2
    lacks = x.isnan()
    any_lacks = lacks.any(dim, keepdim=True)
    value = torch.where(any_lacks, torch.full_like(values.narrow(dim, 0, 1), torch.nan), values.narrow(dim, middle, 1))
    place = torch.where(any_lacks, lacks.to(torch.int64).argmax(dim, keepdim=True), places.narrow(dim, middle, 1))
    return (value, place) if keepdim else (value.squeeze(dim), place.squeeze(dim))


def nanmedian(x: Tensor, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    lacks = x.isnan()
    values, places = torch.where(lacks, torch.inf, x).sort(dim=dim)
    count = (~lacks).to(torch.int64).sum(dim, keepdim=True)
    middle = (count - 1).clamp(min=0) // 2
    value = torch.where(count > 0, values.gather(dim, middle), torch.nan)
    place = places.gather(dim, middle)
    return (value, place) if keepdim else (value.squeeze(dim), place.squeeze(dim))


def kthvalue(x: Tensor, k: int, dim: int = -1, keepdim: bool = False) -> tuple[Tensor, Tensor]:
    values, places = x.sort(dim=dim)
    value, place = values.narrow(dim, k - 1, 1), places.narrow(dim, k - 1, 1)
    return (value, place) if keepdim else (value.squeeze(dim), place.squeeze(dim))


def distances(a: Tensor, b: Tensor, p: float = 2.0, compute_mode: Any = None) -> Tensor:  # noqa: ARG001
    """torch.cdist as it is for few rows, whatever their number: [.., P, D], [.., R, D] -> [.., P, R]."""
    apart: Tensor = torch.linalg.vector_norm(a.unsqueeze(-2) - b.unsqueeze(-3), ord=p, dim=-1)
    return apart


def deviation(x: Tensor, dim: Any = None, *, correction: Any = None, keepdim: bool = False) -> Tensor:
    """The root of a variance whose squares don't overflow: torch adds them up in doubles."""
    axes = list(range(x.ndim)) if dim is None or len(dim) == 0 else list(dim)
    count = 1
    for axis in axes:
        count = count * x.shape[axis]
    apart = x - x.mean(axes, keepdim=True)
    largest = apart.abs().amax(axes, keepdim=True)
    scale = torch.where((largest > 0) & (largest < torch.inf), largest, torch.ones_like(largest))
    squares = (apart / scale).square().sum(axes, keepdim=True)
    spread = scale * (squares / max(count - (1 if correction is None else correction), 0)).sqrt()
    return spread if keepdim else spread.squeeze(axes)


def deviation_and_mean(
    x: Tensor, dim: Any = None, *, correction: Any = None, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    axes = list(range(x.ndim)) if dim is None or len(dim) == 0 else list(dim)
    return deviation(x, dim, correction=correction, keepdim=keepdim), x.mean(axes, keepdim=keepdim)


def deviation_along(x: Tensor, dim: Any, unbiased: bool = True, keepdim: bool = False) -> Tensor:
    return deviation(x, dim, correction=int(unbiased), keepdim=keepdim)


def deviation_and_mean_along(
    x: Tensor, dim: Any, unbiased: bool = True, keepdim: bool = False
) -> tuple[Tensor, Tensor]:
    return deviation_and_mean(x, dim, correction=int(unbiased), keepdim=keepdim)


def searchsorted(
    borders: Tensor, x: Any, *, out_int32: bool = False, right: bool = False, side: Any = None, sorter: Any = None
) -> Tensor:
    """How many borders are below (``right``: not above) each; NaN stands above all."""
    if borders.ndim != 1 or sorter is not None:
        raise ValueError("searchsorted in borders of more than one dimension")
    right = right or side == "right"
    apart = x.unsqueeze(-1)
    passed = ~(apart < borders) if right else ~(apart <= borders)
    count: Tensor = passed.sum(-1).to(torch.int32 if out_int32 else torch.int64)
    return count


def bucketize(x: Tensor, borders: Tensor, *, out_int32: bool = False, right: bool = False) -> Tensor:
    return searchsorted(borders, x, out_int32=out_int32, right=right)


def rrelu(
    x: Tensor,
    lower: float = 0.125,
    upper: float = 1 / 3,
    training: bool = False,  # noqa: ARG001 (torch's)
    generator: Any = None,  # noqa: ARG001
) -> Tensor:
    """In evaluation."""
    return torch.where(x >= 0, x, x * ((lower + upper) / 2))


WRITTEN: dict[Any, Callable[..., Any]] = {
    aten.cumprod.default: _running(torch.mul),
    aten.logcumsumexp.default: _running(torch.logaddexp),
    aten.cummax.default: _running_extreme(torch.ge),
    aten.cummin.default: _running_extreme(torch.le),
    aten.median.dim: median,
    aten.nanmedian.dim: nanmedian,
    aten.kthvalue.default: kthvalue,
    aten.cdist.default: distances,
    aten._cdist_forward.default: distances,  # noqa: SLF001 (what torch.export makes of cdist)
    aten.std.correction: deviation,
    aten.std.dim: deviation_along,
    aten.std_mean.correction: deviation_and_mean,
    aten.std_mean.dim: deviation_and_mean_along,
    aten.searchsorted.Tensor: searchsorted,
    aten.bucketize.Tensor: bucketize,
    aten.rrelu.default: rrelu,
}


def applied(program: ExportedProgram, *, decomposed: bool) -> ExportedProgram:
    """``program`` with what is in ``WRITTEN`` written out; where that is asked, with all of torch's decompositions."""
    used = {node.target for node in program.graph.nodes if node.op == "call_function"}
    made: ExportedProgram = program
    if decomposed:
        made = program.run_decompositions({**torch.export.default_decompositions(), **WRITTEN})
    elif used.intersection(WRITTEN):
        made = program.run_decompositions(dict(WRITTEN))
    return made
