"""Modules that don't export as they are, replaced by others that answer the same in evaluation.

``GhostBatchNorm`` (TabNet's ``GBN``) cuts the batch into chunks, whose number is then fixed in the graph; in
evaluation all chunks are normalised by the same running statistics, so the inner batch norm alone is the same.
``EmbeddingBag`` becomes a loop in ONNX; a bag of a fixed length is a lookup and a reduction.
"""

from __future__ import annotations

import copy
from typing import Any

import torch
from torch import nn


class SummedEmbedding(nn.Module):
    """An EmbeddingBag on bags of one length: codes int64 [N, L] -> float32 [N, E]."""

    def __init__(self, bag: nn.EmbeddingBag) -> None:
        super().__init__()
        self.table = nn.Embedding(bag.num_embeddings, bag.embedding_dim, _weight=bag.weight.detach())
        self.mode = bag.mode

    def forward(self, codes: torch.Tensor) -> torch.Tensor:
        rows: torch.Tensor = self.table(codes)
        if self.mode == "sum":
            return rows.sum(dim=1)
        return rows.mean(dim=1) if self.mode == "mean" else rows.amax(dim=1)


def rewritten(module: nn.Module) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy for export, in evaluation and on the CPU, and what was replaced in it, in words."""
    out = copy.deepcopy(module).cpu().eval()
    for parameter in out.parameters():
        parameter.requires_grad_(False)
    notes: dict[str, int] = {}
    for path, inner in list(out.named_modules()):
        made = _instead(inner)
        if made is not None:
            out = _put(out, path, made[0])
            notes[made[1]] = notes.get(made[1], 0) + 1
    return out, tuple(f"{count} {what}" for what, count in notes.items())


def _instead(module: nn.Module) -> tuple[nn.Module, str] | None:
    inner = getattr(module, "bn", None)
    if (
        type(module).__name__ in ("GBN", "GhostBatchNorm")
        and isinstance(inner, nn.BatchNorm1d)
        and inner.track_running_stats
    ):
        return inner, "ghost batch norm(s) by the batch norm in them"
    if isinstance(module, nn.EmbeddingBag) and _plain(module):
        return SummedEmbedding(module).eval(), f"EmbeddingBag(s) by a lookup and a {module.mode}"
    return None


def _plain(bag: nn.EmbeddingBag) -> bool:
    """Padding would be left out of a mean or a maximum, and a norm is taken at each lookup."""
    return bag.max_norm is None and bag.padding_idx is None and not bag.include_last_offset


def _put(root: nn.Module, path: str, module: nn.Module) -> nn.Module:
    if not path:
        return module
    parent, _, name = path.rpartition(".")
    holder: Any = root.get_submodule(parent)
    setattr(holder, name, module)
    return root
