"""Operators of torch, many in one net: its graph answers as torch does, from 1e-30 to 1e30 of either sign."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from millwork.compile.frontends.torch import exact_graph, export, interface, to_onnx
from millwork.errors import ModelError

Operator = Callable[[torch.Tensor], torch.Tensor]
ONE: dict[str, Operator] = {
    "logsigmoid": F.logsigmoid,
    "softplus": F.softplus,
    "log1p": lambda x: torch.log1p(x.abs()),
    "expm1": torch.expm1,
    "log of sigmoid": lambda x: torch.sigmoid(x.clamp(-80, 80)).log(),
    "elu over its size": lambda x: F.elu(x) / (F.elu(x).abs() + 1e-20),
    "celu": F.celu,
    "silu": lambda x: F.silu(x.clamp(min=-80)),
    "glu": lambda x: F.glu(torch.stack([x, x.clamp(min=-80)], -1), -1)[..., 0],
    "erf": torch.erf,
    "erfc": torch.erfc,
    "log_ndtr": torch.special.log_ndtr,
    "logit": torch.logit,
    "logit within": lambda x: torch.logit(x, eps=1e-6),
    "log": torch.log,
    "sinc": torch.sinc,
    "xlogy": lambda x: torch.special.xlogy(x, x.abs()),
    "xlog1py": lambda x: torch.special.xlog1py(x, x.abs()),
    "binary_cross_entropy_with_logits": lambda x: F.binary_cross_entropy_with_logits(
        x, torch.full_like(x, 0.3), reduction="none"
    ),
    "sign": torch.sign,
    "signbit": lambda x: torch.signbit(x).float(),
    "copysign": lambda x: torch.copysign(torch.full_like(x, 2.0), x),
    "heaviside": lambda x: torch.heaviside(x, torch.tensor(0.5)),
    "clamp from below": lambda x: x.clamp(min=0.0),
    "clamp from above": lambda x: x.clamp(max=1e-12),
    "root": lambda x: x**0.5,
    "floor_divide": lambda x: torch.floor_divide(x, 0.3),
    "remainder": lambda x: torch.remainder(x, -3.0),
    "rrelu": lambda x: F.rrelu(x, training=False),
    "searchsorted": lambda x: torch.searchsorted(torch.tensor([-1.0, 0.0, 2.0]), x.contiguous(), right=True).float(),
    "a constant below 1e-8": lambda x: torch.rsqrt(x * x + 1e-12),
    "a constant in a logarithm": lambda x: torch.log(F.relu(x) + 1e-9),
    "a factor near 1": lambda x: x * (1 + 1e-7),
}
TWO: dict[str, Callable[[torch.Tensor, torch.Tensor], torch.Tensor]] = {
    "logaddexp": torch.logaddexp,
    "hypot": torch.hypot,
    "atan2": torch.atan2,
    "remainder of two": torch.remainder,
    "floor_divide of two": torch.floor_divide,
    "fmax": torch.fmax,
    "fmin": torch.fmin,
}
ROWS: dict[str, Operator] = {
    "amax": lambda x: x.amax(1),
    "min": lambda x: x.min(1).values,
    "argmax": lambda x: x.argmax(1).float(),
    "argmin": lambda x: x.min(1).indices.float(),
    "norm": lambda x: x.norm(dim=1),
    "largest norm": lambda x: x.norm(p=math.inf, dim=1),
    "normalize": lambda x: F.normalize(x, dim=1)[:, 0],
    "std": lambda x: x.std(1),
    "logsumexp": lambda x: x.logsumexp(1),
    "cumprod": lambda x: x.cumprod(1)[:, 1],
    "cummax": lambda x: x.cummax(1).values[:, 3],
    "logcumsumexp": lambda x: x.logcumsumexp(1)[:, 3],
    "median": lambda x: x.median(1).values,
    "nanmedian": lambda x: x.nanmedian(1).values,
    "kthvalue": lambda x: x.kthvalue(2, 1).values,
    "cdist": lambda x: torch.cdist(x, torch.ones(3, 5))[:, 1],
}
NAMES = (*ONE, *TWO, *ROWS)
ODD = np.array([np.nan, np.inf, -np.inf, 0.0, -0.0], np.float32)


class Every(nn.Module):
    """[N, 5] -> a column an operator."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        found = [operator(x[:, 0]) for operator in ONE.values()]
        found += [operator(x[:, 0], x[:, 1]) for operator in TWO.values()]
        return torch.stack([*found, *(operator(x) for operator in ROWS.values())], 1)


def rows() -> npt.NDArray[np.float32]:
    rng = np.random.default_rng(0)
    size = 10.0 ** np.arange(-30, 31)
    each = np.concatenate([size, -size, 3 * size[:-1], rng.normal(size=100) * 3, [20.5, -20.5, 88, -88, 100, -100]])
    alone = rng.choice(each, (len(each), 5))
    alone[:, 0] = each
    together = rng.normal(size=(200, 5)) * 10.0 ** rng.integers(-18, 19, (200, 1))
    odd = rng.normal(size=(100, 5))
    where = rng.random(odd.shape) < 0.4
    odd[where] = rng.choice(ODD, int(where.sum()))
    return np.concatenate([alone, together, odd]).astype(np.float32)


def graph_of(module: nn.Module, example: torch.Tensor) -> tuple[Any, onnx.ModelProto]:
    program = export.export(module.eval(), (example,)).program
    return program, to_onnx._named(to_onnx._exported(program, decomposed=False), interface.of(program))


@pytest.fixture(scope="module")
def answered() -> tuple[npt.NDArray[np.float32], ...]:
    """Rows; torch's answers, row by row, as a server may ask them; the graph's."""
    asked = rows()
    torch.manual_seed(0)
    _, graph = graph_of(Every(), torch.randn(4, 5))
    with torch.no_grad():
        torchs = torch.cat([Every()(torch.from_numpy(row[None])) for row in asked]).numpy()
    session = to_onnx.session(graph)
    return asked, torchs, session.run(None, {"input__0": asked})[0]


@pytest.mark.parametrize("name", NAMES)
def test_the_graph_answers_as_torch_does(name: str, answered: tuple[npt.NDArray[np.float32], ...]) -> None:
    asked, torchs, graphs = (part[:, NAMES.index(name)] if k else part for k, part in enumerate(answered))
    own, mine = torchs.astype(np.float64), graphs.astype(np.float64)
    with np.errstate(invalid="ignore"):
        same = (mine == own) | (np.isnan(mine) & np.isnan(own)) | (np.abs(mine - own) <= 1e-4 * np.abs(own) + 1e-37)
    same |= ~np.isfinite(own) & np.isfinite(asked).all(axis=1)  # torch itself overflows
    worst = int(np.argmin(same))
    assert same.all(), f"{asked[worst].tolist()}: {mine[worst]:.9g}, torch says {own[worst]:.9g}"


class Scaled(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.randn(5, 2))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return (x @ self.weight + 1e-12) * 1.0000001


def test_every_constant_of_the_program_is_in_the_graph() -> None:
    program, graph = graph_of(Scaled(), torch.randn(4, 5))
    exact_graph.require_constants(program, graph, frozenset())
    del graph.graph.initializer[:]
    with pytest.raises(ModelError, match="the exporter lost a constant of the net"):
        exact_graph.require_constants(program, graph, frozenset())


class Gamma(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.lgamma(x)


def test_an_operator_without_translation_is_named() -> None:
    program = export.export(Gamma().eval(), (torch.rand(4, 5),)).program
    with pytest.raises(ModelError, match="the net uses torch's lgamma, which has no counterpart in ONNX"):
        to_onnx.convert(program, interface.of(program), (torch.rand(33, 5),))


def test_a_sigmoid_stays_one_operator_where_small_answers_do_not_count() -> None:
    module = nn.Sequential(nn.Linear(5, 4), nn.SiLU(), nn.Linear(4, 1), nn.Sigmoid())
    _, graph = graph_of(module, torch.randn(4, 5))
    assert [node.op_type for node in graph.graph.node] == ["Gemm", "Sigmoid", "Mul", "Gemm", "Sigmoid"]
