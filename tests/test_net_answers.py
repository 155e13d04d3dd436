"""Nets through the whole job: what ``predict`` answers with what was published is what torch answers."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from models.jobs import millwork
from torch import nn

import millwork as library

QUICK = ("--triton", "none", "--backends", "onnx", "--precision", "fp32", "--traffic", "batch=1")


class FromMinusOne(nn.Module):
    """-1 stands for unknown."""

    def __init__(self) -> None:
        super().__init__()
        self.table, self.last = nn.Embedding(7, 3), nn.Linear(11, 1)

    def forward(self, x: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        out: torch.Tensor = self.last(torch.cat([x, self.table(codes + 1).flatten(1)], 1))
        return out


class SmallConstant(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return torch.rsqrt(x * x + 1e-12)


def log_sigmoid() -> nn.Module:
    return nn.Sequential(nn.BatchNorm1d(4), nn.LogSigmoid(), nn.LayerNorm(4), nn.Linear(4, 1))


def predicted(module: nn.Module, given: dict[str, Any], asked: dict[str, Any], folder: Path) -> Any:
    """The published net's answers; ``given`` and ``asked``: X and C of --data, and of what is predicted."""
    example = tuple(torch.from_numpy(part) for part in given.values())
    path = library.save_net(module, example, folder / "net.pt2", task="regression")
    np.savez(folder / "data.npz", **given)
    np.savez(folder / "asked.npz", **asked)
    where = ("--repository", folder / "models", "--name", "net")
    said = millwork("optimize", path, "--data", folder / "data.npz", *where, "--run-dir", folder / "run", *QUICK)
    assert said.code == 0, said.err
    out = folder / "answers.npy"
    said = millwork("predict", *where, "--input", folder / "asked.npz", "--output", out)
    assert said.code == 0, said.err
    return np.load(out)


def same(module: nn.Module, got: Any, asked: dict[str, Any]) -> None:
    with torch.no_grad():
        wanted = module(*(torch.from_numpy(part) for part in asked.values())).numpy()
    assert np.allclose(got, wanted, rtol=1e-5, atol=1e-6 * np.abs(wanted).max())


@pytest.mark.parametrize(
    ("module", "width", "times"),
    [(log_sigmoid, 4, np.linspace(1, 100, 200)), (SmallConstant, 3, np.linspace(0, 1e-5, 200))],
    ids=["an operator that overflows where it is written in others", "a constant below 1e-8"],
)
def test_rows_beyond_the_data_are_answered_as_torch_does(module: Any, width: int, times: Any, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = module().eval()
    given = {"X": torch.randn(200, width).numpy()}
    asked = {"X": (torch.randn(200, width) * torch.from_numpy(times)[:, None]).float().numpy()}
    same(net, predicted(net, given, asked, tmp_path), asked)


def test_codes_that_begin_at_minus_1_are_answered_as_torch_does(tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = FromMinusOne().eval()
    rows = {"X": torch.randn(200, 5).numpy(), "C": torch.randint(-1, 6, (200, 2)).numpy()}
    same(net, predicted(net, rows, rows, tmp_path), rows)
