"""Whether a net's graph answers rows with NaN and infinities as torch does, row by row."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch

from ....passes.net import ANSWERED, CODES, NUMBERS, RAW, Net, unknown_codes
from ....values import Value
from . import probing
from .interface import Interface
from .run_net import Run, answers, first

EQUAL = 1e-3


class Odd(Value):
    """``fails``: torch fails on such a row; ``differs``: the graph answers one otherwise, or one that torch doesn't."""

    fails: bool
    differs: bool


def asked(run: Run, face: Interface, known: probing.Known, net: Net) -> Odd:
    """Where ONNX Runtime isn't installed, a net that torch fails on is taken to differ."""
    if not face.features:
        return Odd(fails=False, differs=False)
    given = probing.odd_rows(run, face, known)
    wanted = [_alone(run, tuple(part[i : i + 1] for part in given)) for i in range(len(given[0]))]
    fails = any(row is None for row in wanted)
    got = _graphs(net, face, given)
    if got is None:
        return Odd(fails=fails, differs=fails)
    return Odd(fails=fails, differs=any(not _same(mine, own) for mine, own in zip(got, wanted, strict=True)))


def _alone(run: Run, row: tuple[torch.Tensor, ...]) -> Any:
    if not answers(run, row):
        return None
    with torch.no_grad():
        return first(run(*row)).reshape(-1).numpy()


def _graphs(net: Net, face: Interface, given: tuple[torch.Tensor, ...]) -> Any:
    """The graph's answers [N, K0], None for a row that its guard keeps from it; None without an engine to ask."""
    from .to_onnx import session

    run = session(net.graph)
    if run is None:
        return None
    feeds = {
        NUMBERS if role == "numbers" else CODES: part.numpy() for role, part in zip(face.inputs, given, strict=True)
    }
    answered = np.ones(len(given[0]), bool)
    if net.guard is not None:
        guard = session(net.guard)
        answered = guard.run([ANSWERED], {own.name: feeds[own.name] for own in guard.get_inputs()})[0][:, 0]
    elif face.codes:
        unknown = unknown_codes(feeds[CODES], net.interface.code_counts, net.interface.code_lows)
        answered = np.asarray(~unknown.any(axis=1))
    safe = {NUMBERS: net.interface.safe_numbers, CODES: net.interface.safe_codes}
    kept = {name: np.where(answered[:, None], part, np.array([safe[name]], part.dtype)) for name, part in feeds.items()}
    rows = []
    for i in range(len(answered)):
        one = {own.name: kept[own.name][i : i + 1] for own in run.get_inputs()}
        rows.append(run.run([RAW], one)[0][0] if answered[i] else None)
    return rows


def _same(mine: Any, own: Any) -> bool:
    if mine is None or own is None:
        return mine is own
    size = max(float(np.abs(own[np.isfinite(own)]).max(initial=0.0)), 1e-6)
    return bool(np.allclose(mine, own, rtol=0, atol=EQUAL * size, equal_nan=True))
