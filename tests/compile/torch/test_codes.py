"""Which codes a net takes is asked of it: a row is answered where torch answers it, and NaN where torch fails."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pytest
import torch
from torch import nn
from torch.nn import functional as F  # noqa: N812

from millwork import triton_releases
from millwork.compile.backends.onnx.net_graph import finished
from millwork.compile.frontends.torch import export, net, to_onnx
from millwork.compile.frontends.torch.model_card import Card
from millwork.compile.runners.torch_runner import Runner
from millwork.passes import net as nets

Lookup = Callable[["Codes", torch.Tensor, torch.Tensor], torch.Tensor]


class Codes(nn.Module):
    """Numbers [N, 2] and codes [N, 2], looked up in a table of 7."""

    def __init__(self, lookup: Lookup) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.table, self.last, self.lookup = nn.Embedding(7, 3), nn.LazyLinear(1), lookup
        self.register_buffer("offsets", torch.tensor([0, 3]))

    def forward(self, x: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.last(torch.cat([x, self.lookup(self, x, codes).flatten(1)], 1))
        return out


# ruff: noqa: ARG005 (all lookups take the same)
LOOKUPS: dict[str, tuple[Lookup, tuple[int, ...], str]] = {
    "as they are": (lambda s, x, c: s.table(c), (0, 0, 7, 7), "range"),
    "from -1 on": (lambda s, x, c: s.table(c + 1), (-1, -1, 7, 7), "range"),
    "offsets into one table": (lambda s, x, c: s.table(c + s.offsets), (0, -3, 7, 7), "range"),
    "counted from the end": (lambda s, x, c: s.table.weight[c], (-7, -7, 14, 14), "range"),
    "classes": (lambda s, x, c: F.one_hot(c + 1, 3).float(), (-1, -1, 3, 3), "range"),
    "flattened": (lambda s, x, c: s.table(c.reshape(-1)).reshape(-1, 6), (0, 0, 7, 7), "range"),
    "clamped": (lambda s, x, c: s.table(c.clamp(min=0)), (), "asked"),
    "remainders": (lambda s, x, c: s.table(c % 7), (0, 0, 0, 0), "asked"),
    "negated": (lambda s, x, c: s.table(-c), (-6, -6, 7, 7), "asked"),
    "one that stands for unknown": (lambda s, x, c: s.table(torch.where(c == 99, 0, c)), (0, 0, 7, 7), "asked"),
    "two columns at once": (lambda s, x, c: s.table(torch.stack([c[:, 0] + c[:, 1], c[:, 0]], 1)), (), "asked"),
    "numbers cast to codes": (lambda s, x, c: s.table(torch.stack([x[:, 0].long(), c[:, 1]], 1)), (), "asked"),
    "no lookup": (lambda s, x, c: c.float(), (0, 0, 0, 0), "range"),
}


def rows() -> tuple[npt.NDArray[np.float32], npt.NDArray[np.int64]]:
    rng = np.random.default_rng(0)
    x = (rng.normal(size=(300, 2)) * 3).astype(np.float32)
    codes = rng.integers(0, 7, (300, 2))
    codes[60:100] = rng.integers(-1, 2, (40, 2))
    codes[100:] = rng.integers(-9, 12, (200, 2))
    codes[-30:, 0] = 99
    codes[-10:, 1] = np.resize([1 << 40, -(1 << 40), -(1 << 63), (1 << 63) - 1], 10)
    x[:6, 0] = (np.nan, np.inf, -np.inf, 1e30, -0.5, 6.9)
    return x, codes


def torchs(module: nn.Module, x: npt.NDArray[np.float32], codes: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
    answers = np.full((len(x), 1), np.nan, np.float32)
    for i in range(len(x)):
        try:
            with torch.no_grad():
                answers[i] = module(torch.from_numpy(x[i : i + 1]), torch.from_numpy(codes[i : i + 1])).numpy()
        except (IndexError, RuntimeError):
            continue
    return answers


@pytest.mark.parametrize("kind", LOOKUPS)
def test_a_row_is_answered_where_torch_answers_it(kind: str, tmp_path: Path) -> None:
    lookup, limits, rule = LOOKUPS[kind]
    module = Codes(lookup).eval()
    example = (torch.rand(4, 2), torch.zeros(4, 2, dtype=torch.int64))
    module(*example)
    program = export.export(module, example).program
    found, made = net._examined(program, Card(), margin=False)
    assert ("asked" if found.joint else "range") == rule
    if limits:
        assert (*found.known.lows, *found.known.counts) == limits
    x, codes = rows()
    feeds: dict[str, Any] = {"input__0": x, "input__1": codes}
    nets.save(made, tmp_path / "net.onnx")  # and back: the guard, too
    session = to_onnx.session(finished(nets.load(tmp_path / "net.onnx"), triton_releases.find("24.10")))
    got = session.run(None, {own.name: feeds[own.name] for own in session.get_inputs()})[0]
    wanted = torchs(module, x, codes)
    assert np.isfinite(wanted).sum() > 15
    assert np.allclose(got, wanted, atol=1e-5, rtol=1e-5, equal_nan=True)
    torch.export.save(program, tmp_path / "net.pt2")
    oracle = Runner(tmp_path / "net.pt2", net._parameters(found), 1)
    assert np.allclose(oracle.predict(x, codes), wanted, atol=1e-5, rtol=1e-5, equal_nan=True)


class Odd(nn.Module):
    """A window that holds a NaN has no largest number in torch, and has one in ONNX."""

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return F.max_pool1d(x[:, None], 2).flatten(1)


def test_rows_with_nan_are_guarded_where_no_graph_answers_them_as_torch() -> None:
    program = export.export(Odd().eval(), (torch.rand(4, 4),)).program
    found, made = net._examined(program, Card(), margin=False)
    assert made.interface.finite
    assert "no ONNX graph answers NaN and infinities as torch, so a row that holds one is answered NaN" in net._told(
        Card(), found
    )
