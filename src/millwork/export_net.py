"""``save_net``: a live torch module as a .pt2 that millwork reads, with what its columns and outputs are called."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import msgspec

from .errors import TargetError, UsageError


def save_net(
    module: Any,
    example: Any,
    path: str | Path,
    *,
    task: str | None = None,
    names: Sequence[str] = (),
    code_names: Sequence[str] = (),
    labels: Sequence[object] = (),
    code_counts: Sequence[int] = (),
    threshold: float | None = None,
) -> Path:
    """Export ``module`` (a torch.nn.Module, which is put into evaluation for that) and write it to ``path``, a .pt2.

    ``example``: its arguments, arrays or tensors of at least 2 rows: numbers float32 [N, F], codes int64 [N, C], or a
    tuple of both in the order of ``forward``, or a dict of them: of keyword arguments where its keys are the names of
    ``forward``'s, else the one argument that it takes. None and numbers among them stay as they are.

    The module returns margins (or values) [N] or [N, K], the same ones for the same rows, and is afterwards as it was.
    ``task``: regression (the default), binary, multiclass or multilabel: what the outputs are margins of. ``names``,
    ``code_names``: the columns; ``labels``: the classes, or outputs; ``code_counts``: how many codes each column has
    (the net is asked, so it isn't needed); ``threshold``: the probability above which a binary net decides for its
    second class.

    The program is proved against the module at batches of 1, 2, an odd number and a large one. Raises ModelError where
    the module can't be exported, UsageError for a wrong argument, TargetError where torch isn't installed.
    """
    try:
        import torch

        from .compile.frontends.torch import export, weights
        from .compile.frontends.torch import model_card as cards
    except ModuleNotFoundError as error:
        raise TargetError(f"{error.name} isn't installed", "pip install 'millwork[torch]'") from error
    if not isinstance(module, torch.nn.Module):
        raise UsageError(f"expected a torch.nn.Module, got a {type(module).__name__}")
    out = Path(os.path.expanduser(path))  # noqa: PTH111 (pathlib's raises for a user who isn't there)
    if out.suffix != ".pt2":
        raise UsageError(f"{out}: expected a file ending in .pt2")
    card = cards.Card(
        task=cards.task_of(task) if task else "",
        names=tuple(names),
        code_names=tuple(code_names),
        labels=tuple(str(label) for label in labels),
        code_counts=tuple(int(count) for count in code_counts),
        threshold=threshold,
    )
    made = export.export(module, example, weights.accept)
    torch.export.save(made.program, str(out), extra_files={cards.CARD_FILE: msgspec.json.encode(card).decode()})
    return out
