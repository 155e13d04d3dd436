"""What a net's file says of itself beside the net: what its columns and its outputs are called, and what it is for."""

from __future__ import annotations

from typing import Literal

import msgspec

from ....errors import ModelError, UsageError
from ....storage import wire
from ....values import Value

CARD_FILE = "millwork.json"
"""Its name among a .pt2's extra files."""

NetTask = Literal["regression", "binary", "multiclass", "multilabel"]
TASKS: tuple[NetTask, ...] = ("regression", "binary", "multiclass", "multilabel")


class Card(Value):
    """``task``: what the outputs are the margins of; empty where nobody said. ``names``, ``code_names``: the columns of
    the numbers and of the codes, ``labels`` the outputs' or classes' names, all empty where there are none.
    ``code_counts``: how many codes each column of codes has, as its maker says; the net itself is asked.
    ``threshold``: the probability above which a binary net decides for its second class."""

    task: NetTask | Literal[""] = ""
    names: tuple[str, ...] = ()
    code_names: tuple[str, ...] = ()
    labels: tuple[str, ...] = ()
    code_counts: tuple[int, ...] = ()
    threshold: float | None = None


def parse(content: bytes) -> Card:
    """ModelError for what isn't a card."""
    try:
        return wire.decode(content, Card)
    except msgspec.DecodeError as error:
        raise ModelError(f"its {CARD_FILE} isn't one that millwork.save_net writes: {error}") from error


def task_of(text: str) -> NetTask:
    """UsageError for any other word."""
    for task in TASKS:
        if text == task:
            return task
    raise UsageError(f"--task {text!r}: expected {', '.join(TASKS)}", "It says what the net's outputs mean.")
