"""A net is asked: batches of any size out of a few rows, its first answer, and what it said where it failed."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from ....errors import ModelError

Run = Callable[..., Any]
Tensors = tuple[torch.Tensor, ...]


def batch(rows: Tensors, size: int) -> Tensors:
    """The rows again and again, ``size`` of them."""
    return tuple(tensor[torch.arange(size) % len(tensor)] for tensor in rows)


def first(answer: Any) -> torch.Tensor:
    """The first tensor of what a net returns. ModelError where that is none."""
    while isinstance(answer, tuple | list) and answer:
        answer = answer[0]
    if not isinstance(answer, torch.Tensor):
        raise ModelError(f"the net returns a {type(answer).__name__}, not a tensor")
    return answer


def answers(run: Run, given: Tensors) -> bool:
    """Whether the net answers these rows at all, whatever it answers."""
    try:
        with torch.no_grad():
            run(*given)
    except (IndexError, RuntimeError):
        return False
    return True


def words(error: BaseException) -> str:
    """The first line that says something; torch's errors run over pages."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[0][:300] if lines else type(error).__name__
