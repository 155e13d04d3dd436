"""Random torch nets of a small grammar: numbers, codes, blocks one after another, and a head."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from case import RandomCase, Rng, chance, pick, two_dimensional
from torch import nn
from torch.nn import functional

import millwork

ROWS, ASKED = 240, 200
LARGEST = 60.0
"""How far the rows that are asked go beyond those of training."""

Function = Callable[[torch.Tensor], torch.Tensor]
FUNCTIONS: dict[str, Function] = {
    "relu": functional.relu,
    "relu6": functional.relu6,
    "leaky_relu": functional.leaky_relu,
    "elu": functional.elu,
    "celu": functional.celu,
    "selu": functional.selu,
    "gelu": functional.gelu,
    "gelu tanh": lambda x: functional.gelu(x, approximate="tanh"),
    "silu": functional.silu,
    "mish": functional.mish,
    "softplus": functional.softplus,
    "softsign": functional.softsign,
    "logsigmoid": functional.logsigmoid,
    "tanhshrink": functional.tanhshrink,
    "hardswish": functional.hardswish,
    "hardsigmoid": functional.hardsigmoid,
    "hardtanh": functional.hardtanh,
    "softshrink": functional.softshrink,
    "sigmoid": torch.sigmoid,
    "tanh": torch.tanh,
    "sin": torch.sin,
    "atan": torch.atan,
    "erf": torch.erf,
    "log1p abs": lambda x: torch.log1p(x.abs()),
    "sign root": lambda x: torch.sign(x) * torch.sqrt(x.abs() + 1e-12),
    "rsqrt": lambda x: torch.rsqrt(x * x + 1e-9),
    "exp of minus": lambda x: torch.exp(-x.abs()),
    "clamp": lambda x: x.clamp(-2.0, 3.0),
    "softmax": lambda x: torch.softmax(x, -1),
    "log_softmax": lambda x: torch.log_softmax(x, -1),
    "normalize": lambda x: functional.normalize(x, dim=-1),
    "logsumexp": lambda x: x - torch.logsumexp(x, -1, keepdim=True),
    "cumsum": lambda x: torch.cumsum(x, -1),
    "where": lambda x: torch.where(x > 0.1, x, -x * 0.5),
    "centred": lambda x: (x - x.mean(-1, keepdim=True)) / (x.std(-1, keepdim=True) + 1e-6),
    "largest": lambda x: x - x.amax(-1, keepdim=True),
    "flipped": lambda x: x.flip(-1),
    "glu": lambda x: functional.glu(torch.cat([x, x.flip(-1)], -1)),
    "sorted": lambda x: torch.topk(x, min(3, x.shape[-1]), -1).values.mean(-1, keepdim=True) + x,
}


class Apply(nn.Module):
    """A function as a module, by its name."""

    def __init__(self, name: str) -> None:
        super().__init__()
        self.name = name

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return FUNCTIONS[self.name](x)


class Residual(nn.Module):
    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x + self.inner(x)


class Attention(nn.Module):
    """Over the columns, each a token."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.weight, self.bias = nn.Parameter(torch.randn(width, 4)), nn.Parameter(torch.randn(width, 4))
        self.attention = nn.MultiheadAttention(4, 2, batch_first=True)
        self.out = nn.Linear(4 * width, width)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x[:, :, None] * self.weight + self.bias
        return self.out(self.attention(tokens, tokens, tokens, need_weights=False)[0].flatten(1))


class Net(nn.Module):
    """``offset``: what is added to codes before their tables."""

    def __init__(self, body: nn.Module, tables: nn.ModuleList, offset: int) -> None:
        super().__init__()
        self.body, self.tables, self.offset = body, tables, offset

    def forward(self, x: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        found = [table(codes[:, i] + self.offset) for i, table in enumerate(self.tables)]
        return self.body(torch.cat([x, *found], 1))


def make(rng: Rng, folder: Path) -> RandomCase:
    torch.manual_seed(int(rng.integers(1 << 30)))
    features, with_codes = int(rng.integers(1, 7)), chance(rng, 0.4)
    width, layers, words = features, [], []
    counts = [int(rng.integers(2, 12)) for _ in range(int(rng.integers(1, 3)))] if with_codes else []
    sizes = [int(rng.integers(1, 4)) for _ in counts]
    width += sum(sizes)
    for _ in range(int(rng.integers(1, 5))):
        layer, width, word = _layer(rng, width)
        layers.append(layer)
        words.append(word)
    task = pick(rng, "regression", "regression", "binary", "multiclass", "multilabel")
    outputs = {"regression": pick(rng, 1, 1, 3), "binary": 1, "multiclass": 3, "multilabel": 2}[task]
    body = nn.Sequential(*layers, nn.Linear(width, outputs))
    offset = pick(rng, 0, 0, 1) if with_codes else 0
    tables = nn.ModuleList(nn.Embedding(count + offset, size) for count, size in zip(counts, sizes, strict=True))
    net = Net(body, tables, offset) if with_codes else body
    example = torch.randn(ROWS, features) * pick(rng, 1.0, 1.0, 10.0)
    far = torch.randn(ASKED, features) * torch.linspace(1, LARGEST, ASKED)[:, None]
    codes = _codes(rng, counts, ROWS, offset)
    asked_codes = _codes(rng, counts, ASKED, offset)
    _settle(net, example, codes)
    given = (example, codes) if with_codes else (example,)
    asked = (far, asked_codes) if with_codes else (far,)
    with torch.no_grad():
        expected = _answers(net(*asked), task)
    _write(folder / "data.npz", given)
    _write(folder / "asked.npz", asked)
    return RandomCase(
        model=folder / "net.pt2",
        export=partial(millwork.save_net, net, given if with_codes else example, folder / "net.pt2", task=task),
        data=folder / "data.npz",
        label=None,
        asked=folder / "asked.npz",
        expected=two_dimensional(expected),
        words=f"net {task} {features} features, codes {counts} + {offset}: {', '.join(words)}",
        precise=2e-4,
    )


def _layer(rng: Rng, width: int) -> tuple[nn.Module, int, str]:
    kind = pick(rng, "linear", "linear", "function", "function", "function", "norm", "residual", "attention")
    if kind == "linear":
        wide = int(rng.integers(2, 12))
        return nn.Linear(width, wide), wide, f"linear {wide}"
    if kind == "norm":
        make_norm = pick(rng, nn.BatchNorm1d, nn.LayerNorm, nn.RMSNorm)
        return make_norm(width), width, make_norm.__name__
    if kind == "residual":
        name = pick(rng, *FUNCTIONS)
        return Residual(nn.Sequential(nn.Linear(width, width), Apply(name))), width, f"residual {name}"
    if kind == "attention" and width <= 12:
        return Attention(width), width, "attention"
    name = pick(rng, *FUNCTIONS)
    return Apply(name), width, name


def _codes(rng: Rng, counts: list[int], rows: int, offset: int) -> torch.Tensor:
    columns = [rng.integers(-offset, count, rows) for count in counts]
    return torch.as_tensor(np.stack(columns, 1) if columns else np.zeros((rows, 0), np.int64))


def _settle(net: nn.Module, example: torch.Tensor, codes: torch.Tensor) -> None:
    """Running means and variances of batch norms that have seen rows; then evaluation."""
    net.train()
    with torch.no_grad():
        for _ in range(3):
            net(*((example, codes) if isinstance(net, Net) else (example,)))
    net.eval()


def _answers(out: torch.Tensor, task: str) -> Any:
    out = out.to(torch.float64)
    if task == "binary":
        share = torch.sigmoid(out[:, 0])
        return torch.stack([1 - share, share], 1).numpy()
    if task == "multiclass":
        return torch.softmax(out, 1).numpy()
    return torch.sigmoid(out).numpy() if task == "multilabel" else out.numpy()


def _write(path: Path, given: tuple[torch.Tensor, ...]) -> None:
    arrays = {"X": given[0].numpy()} | ({"C": given[1].numpy()} if len(given) > 1 else {})
    np.savez(path, **arrays)
