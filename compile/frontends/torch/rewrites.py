"""Modules that don't export as they are, replaced by others that answer the same in evaluation.

``GhostBatchNorm`` (TabNet's ``GBN``) cuts the batch into chunks, whose number is then fixed in the graph; in
evaluation all chunks are normalised by the same running statistics, so the inner batch norm alone is the same.
``EmbeddingBag`` becomes a loop in ONNX; a bag of a fixed length is a lookup and a reduction.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import nn
from torch.nn.utils.spectral_norm import SpectralNorm
from torch.nn.utils.weight_norm import WeightNorm

from . import modules


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
    out = modules.copied(module).cpu().eval()
    notes: dict[str, int] = {}
    for inner in out.modules():
        _fold_norms(inner)
    for parameter in out.parameters():
        parameter.requires_grad_(False)
    for path, inner in list(out.named_modules()):
        made = _instead(inner)
        if made is not None:
            out = _put(out, path, made[0])
            notes[made[1]] = notes.get(made[1], 0) + 1
    return out, tuple(f"{count} {what}" for what, count in notes.items())


def _fold_norms(module: nn.Module) -> None:
    """The old ``weight_norm`` and ``spectral_norm`` make the weight anew before each call; in evaluation it's the same
    each time."""
    hooks: Any = module._forward_pre_hooks  # noqa: SLF001 -- as torch's own remove_weight_norm
    for key, hook in list(hooks.items()):
        if isinstance(hook, WeightNorm | SpectralNorm):
            hook.remove(module)
            del hooks[key]


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
