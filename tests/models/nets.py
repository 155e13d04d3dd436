"""Ten kinds of tabular nets, each trained a little on real data that comes with scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import rtdl_num_embeddings
import rtdl_revisiting_models
import tabm
import torch
from pytorch_tabnet.tab_network import TabNet
from sklearn.datasets import load_breast_cancer, load_diabetes, load_wine
from torch import nn

import millwork

STEPS = 40


@dataclass
class Net:
    """``module`` in evaluation: ``forward(x)`` or ``forward(x, codes)`` -> margins or values [N, K] or [N]."""

    module: nn.Module
    x: npt.NDArray[np.float32]
    labels: npt.NDArray[Any]
    task: str
    codes: npt.NDArray[np.int64] | None = None
    code_counts: tuple[int, ...] = ()
    dependent: bool = False
    arguments: tuple[torch.Tensor, ...] = field(init=False)

    def __post_init__(self) -> None:
        given = [torch.from_numpy(self.x)]
        if self.codes is not None:
            given.append(torch.from_numpy(self.codes))
        self.arguments = tuple(given)


def cancer() -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
    """Binary: float32 [569, 30] as they are (a column reaches 4,254), labels 0 and 1."""
    x, y = load_breast_cancer(return_X_y=True)
    return x.astype(np.float32), y


def wine() -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
    """Three classes: float32 [178, 13]."""
    x, y = load_wine(return_X_y=True)
    return x.astype(np.float32), y


def diabetes() -> tuple[npt.NDArray[np.float32], npt.NDArray[Any]]:
    """Regression: float32 [442, 10], standardized; the target scaled to unit spread."""
    x, y = load_diabetes(return_X_y=True)
    return (x / x.std(axis=0)).astype(np.float32), ((y - y.mean()) / y.std()).astype(np.float32)


def scaled(x: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    return np.asarray((x - x.mean(axis=0)) / x.std(axis=0), np.float32)


def trained(net: Net, rate: float = 1e-2) -> Net:
    torch.manual_seed(0)
    torch.set_num_threads(1)
    target = torch.from_numpy(net.labels)
    optimizer = torch.optim.Adam(net.module.parameters(), rate)
    net.module.train()
    for _ in range(STEPS):
        optimizer.zero_grad()
        out = net.module(*net.arguments)
        out = out[0] if isinstance(out, tuple) else out
        loss(net.task, out, target).backward()
        optimizer.step()
    net.module.eval()
    return net


def loss(task: str, out: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    if task == "multiclass":
        return nn.functional.cross_entropy(out, target)
    flat = out.reshape(len(target))
    if task == "binary":
        return nn.functional.binary_cross_entropy_with_logits(flat, target.to(torch.float32))
    return nn.functional.mse_loss(flat, target.to(torch.float32))


def seeded() -> None:
    torch.manual_seed(0)


def mlp() -> Net:
    seeded()
    x, y = cancer()
    return trained(
        Net(
            nn.Sequential(
                nn.BatchNorm1d(30),
                nn.Linear(30, 64),
                nn.ReLU(),
                nn.BatchNorm1d(64),
                nn.Dropout(0.1),
                nn.Linear(64, 32),
                nn.ReLU(),
                nn.Linear(32, 1),
            ),
            x,
            y,
            "binary",
        )
    )


def resnet() -> Net:
    seeded()
    x, y = wine()
    module = rtdl_revisiting_models.ResNet(
        d_in=13, d_out=3, n_blocks=2, d_block=32, d_hidden=None, d_hidden_multiplier=2.0, dropout1=0.1, dropout2=0.0
    )
    return trained(Net(module, scaled(x), y, "multiclass"))


class NumbersOnly(nn.Module):
    """FT-Transformer's forward takes numbers and categories, one of which may be None."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x, None)  # type: ignore[no-any-return]


def ft_transformer() -> Net:
    seeded()
    x, y = diabetes()
    module = rtdl_revisiting_models.FTTransformer(
        n_cont_features=10,
        cat_cardinalities=[],
        d_out=1,
        **{
            **rtdl_revisiting_models.FTTransformer.get_default_kwargs(n_blocks=1),
            "_is_default": False,
            "d_block": 32,
            "attention_n_heads": 4,
        },
    )
    return trained(Net(NumbersOnly(module), x, y, "regression"))


class FirstOutput(nn.Module):
    """TabNet returns its answer and its sparsity's loss."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x)[0]  # type: ignore[no-any-return]


def tabnet() -> Net:
    seeded()
    x, y = cancer()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        module = TabNet(30, 1, n_d=8, n_a=8, n_steps=3, virtual_batch_size=64, group_attention_matrix=torch.eye(30))
    return trained(Net(FirstOutput(module), scaled(x), y, "binary"))


class Mean(nn.Module):
    """TabM's members [N, k, K] as one answer."""

    def __init__(self, inner: nn.Module) -> None:
        super().__init__()
        self.inner = inner

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.inner(x).mean(dim=1)  # type: ignore[no-any-return]


def tabm_net() -> Net:
    seeded()
    x, y = wine()
    module = tabm.TabM.make(n_num_features=13, d_out=3, n_blocks=2, d_block=32, k=8)
    return trained(Net(Mean(module), scaled(x), y, "multiclass"))


class Dcn(nn.Module):
    """DCNv2: cross layers beside a deep part."""

    def __init__(self, features: int) -> None:
        super().__init__()
        self.cross = nn.ModuleList(nn.Linear(features, features) for _ in range(2))
        self.deep = nn.Sequential(nn.Linear(features, 32), nn.ReLU(), nn.Linear(32, 16), nn.ReLU())
        self.head = nn.Linear(features + 16, 1)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        crossed = x
        for layer in self.cross:
            crossed = x * layer(crossed) + crossed
        return self.head(torch.cat([crossed, self.deep(x)], dim=1)).squeeze(1)  # type: ignore[no-any-return]


def dcn() -> Net:
    seeded()
    x, y = diabetes()
    return trained(Net(Dcn(10), x, y, "regression"))


class Dlrm(nn.Module):
    """Embeddings of codes and a bottom MLP of the numbers, multiplied pairwise; one bag of two columns."""

    def __init__(self, features: int, counts: tuple[int, ...]) -> None:
        super().__init__()
        self.bottom = nn.Sequential(nn.Linear(features, 16), nn.ReLU(), nn.Linear(16, 8))
        self.tables = nn.ModuleList(nn.Embedding(count, 8) for count in counts[:-2])
        self.bag = nn.EmbeddingBag(counts[-1], 8, mode="sum")
        pairs = len(counts) * (len(counts) - 1) // 2
        self.top = nn.Sequential(nn.Linear(8 + pairs, 16), nn.ReLU(), nn.Linear(16, 1))

    def forward(self, x: torch.Tensor, codes: torch.Tensor) -> torch.Tensor:
        bottom = self.bottom(x)
        looked = [table(codes[:, i]) for i, table in enumerate(self.tables)]
        parts = torch.stack([bottom, *looked, self.bag(codes[:, -2:])], dim=1)
        products = torch.bmm(parts, parts.transpose(1, 2))
        row, column = torch.tril_indices(parts.shape[1], parts.shape[1], offset=-1)
        return self.top(torch.cat([bottom, products[:, row, column]], dim=1))  # type: ignore[no-any-return]


def dlrm() -> Net:
    seeded()
    x, y = cancer()
    x = scaled(x)
    counts = (7, 11, 5, 5)
    bins = [
        np.digitize(x[:, i], np.quantile(x[:, i], np.linspace(0, 1, count + 1)[1:-1])) for i, count in enumerate(counts)
    ]
    return trained(Net(Dlrm(30, counts), x, y, "binary", np.stack(bins, axis=1).astype(np.int64), counts))


class Flat(nn.Module):
    def __init__(self, embedding: nn.Module, width: int, outputs: int) -> None:
        super().__init__()
        self.embedding = embedding
        self.head = nn.Sequential(nn.Flatten(), nn.Linear(width, 32), nn.ReLU(), nn.Linear(32, outputs))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.embedding(x))  # type: ignore[no-any-return]


def periodic() -> Net:
    seeded()
    x, y = diabetes()
    embedding = rtdl_num_embeddings.PeriodicEmbeddings(10, 8, lite=False)
    return trained(Net(Flat(embedding, 80, 1), x, y, "regression"))


def piecewise() -> Net:
    seeded()
    x, y = wine()
    x = scaled(x)
    bins = rtdl_num_embeddings.compute_bins(torch.from_numpy(x), n_bins=8)
    embedding = rtdl_num_embeddings.PiecewiseLinearEmbeddings(bins, 8, activation=True, version="B")
    return trained(Net(Flat(embedding, 13 * 8, 3), x, y, "multiclass"))


class Saint(nn.Module):
    """Attention across the columns of a row, then across the rows of the batch: an answer depends on its company."""

    def __init__(self, features: int, width: int = 8) -> None:
        super().__init__()
        self.embed = nn.Parameter(torch.randn(features, width) * 0.3)
        self.across_columns = nn.MultiheadAttention(width, 2, batch_first=True)
        self.across_rows = nn.MultiheadAttention(features * width, 2, batch_first=True)
        self.head = nn.Linear(features * width, 3)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        tokens = x[:, :, None] * self.embed
        tokens = tokens + self.across_columns(tokens, tokens, tokens, need_weights=False)[0]
        rows = tokens.flatten(1)[None]
        rows = rows + self.across_rows(rows, rows, rows, need_weights=False)[0]
        return self.head(rows[0])  # type: ignore[no-any-return]


def saint() -> Net:
    seeded()
    x, y = wine()
    return trained(Net(Saint(13), scaled(x), y, "multiclass", dependent=True))


KINDS: dict[str, Callable[[], Net]] = {
    "mlp": mlp, "resnet": resnet, "ft-transformer": ft_transformer, "tabnet": tabnet, "tabm": tabm_net, "dcn": dcn,
    "dlrm": dlrm, "periodic": periodic, "piecewise": piecewise, "saint": saint,
}  # fmt: skip

FILE = "net.pt2"


def export(kind: str, folder: Path) -> Path:
    """The net of a kind as a file in ``folder``."""
    net = KINDS[kind]()
    return millwork.save_net(net.module, net.arguments, folder / FILE, task=net.task)
