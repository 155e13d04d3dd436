"""What is found out of a net by asking it: which codes it knows, and whether rows affect each other."""

from __future__ import annotations

import msgspec
import numpy as np
import torch

from ....errors import ModelError
from ....values import Value
from .interface import Interface
from .run_net import Run, Tensors, answers, first

ALONE, AMONG = 8, 33
"""So many rows are asked one by one, and again among so many."""
APART = 1e-4
"""Of the answers' own size: more than other orders of adding up make of a row's answer."""
MOST_CODES = 1 << 24
ODD_ROWS = 16


class Known(Value):
    """What a net takes. ``codes``, ``numbers``: a row that it answers. ``lows``, ``counts`` [C]: the first code of each
    column and how many there are, where the others are that row's; a count of 0 stands for any."""

    codes: tuple[int, ...] = ()
    numbers: tuple[float, ...] = ()
    lows: tuple[int, ...] = ()
    counts: tuple[int, ...] = ()


def known(run: Run, interface: Interface) -> Known:
    """Found out by asking. ModelError where the net answers none of the rows that were tried."""
    for fill in (0.0, 1.0):
        for code in (0, 1, -1, *(sign * 2**power for power in range(1, 25) for sign in (1, -1))):
            row = Known(codes=(code,) * interface.codes, numbers=(fill,) * interface.features)
            if _takes(run, interface, row):
                return _widened(run, interface, row)
            if not interface.codes:
                break
    raise ModelError(
        "the net answers no row: it fails on every code that was tried, each the same in all columns",
        "Let every column of codes begin at 0.",
    )


def _widened(run: Run, interface: Interface, row: Known) -> Known:
    ends = []
    for column in range(interface.codes):
        down, up = (_last(run, interface, row, column, way) for way in (-1, 1))
        ends.append((down, up))
    unlimited = [down is None and up is None for down, up in ends]
    firsts = [-MOST_CODES if down is None else down for down, _ in ends]
    lasts = [MOST_CODES if up is None else up for _, up in ends]
    return msgspec.structs.replace(
        row,
        lows=tuple(0 if any_code else first for any_code, first in zip(unlimited, firsts, strict=True)),
        counts=tuple(
            0 if any_code else last - first + 1
            for any_code, first, last in zip(unlimited, firsts, lasts, strict=True)
        ),
    )


def _last(run: Run, interface: Interface, row: Known, column: int, way: int) -> int | None:
    """The last code that the net takes, that way from the row's; None where it takes all that were tried."""

    def takes(distance: int) -> bool:
        codes = list(row.codes)
        codes[column] += way * distance
        return _takes(run, interface, msgspec.structs.replace(row, codes=tuple(codes)))

    low, high = 0, 1
    while high <= MOST_CODES and takes(high):
        low, high = high, high * 2
    if high > MOST_CODES:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if takes(middle) else (low, middle)
    return row.codes[column] + way * low


def _takes(run: Run, interface: Interface, row: Known) -> bool:
    codes = torch.tensor([row.codes] * 2, dtype=torch.int64).reshape(2, -1)
    numbers = torch.tensor([row.numbers] * 2, dtype=torch.float32).reshape(2, -1)
    return answers(run, _in_order(interface, numbers, codes))


def rows(run: Run, interface: Interface, found: Known, size: int = AMONG, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Random rows that the net answers, in the order of its inputs: normal numbers, codes of their columns; the row
    that it is known to answer in place of others."""
    made = torch.Generator().manual_seed(seed)
    numbers = torch.randn(size, interface.features, generator=made)
    span = torch.tensor([min(count or MOST_CODES, MOST_CODES) for count in found.counts], dtype=torch.float64)
    low = torch.tensor(found.lows, dtype=torch.int64)
    codes = low + (torch.rand(size, len(found.counts), generator=made, dtype=torch.float64) * span).to(torch.int64)
    given = _in_order(interface, numbers, codes)
    if interface.codes and not answers(run, given):
        fine = [answers(run, tuple(part[i : i + 1] for part in given)) for i in range(size)]
        bad = ~torch.tensor(fine)
        numbers[bad] = torch.tensor(found.numbers, dtype=torch.float32)
        codes[bad] = torch.tensor(found.codes, dtype=torch.int64)
    return _in_order(interface, numbers, codes)


def _in_order(interface: Interface, numbers: torch.Tensor, codes: torch.Tensor) -> Tensors:
    """As the net takes them."""
    return tuple(numbers if role == "numbers" else codes for role in interface.inputs)


def odd_rows(run: Run, interface: Interface, found: Known) -> tuple[torch.Tensor, ...]:
    """Rows with a NaN or an infinity in each column in turn, and some with several."""
    made = rows(run, interface, found, size=3 * interface.features + ODD_ROWS)
    pick = np.random.default_rng(0)
    for tensor, role in zip(made, interface.inputs, strict=True):
        if role != "numbers":
            continue
        for kind, odd in enumerate((float("nan"), float("inf"), float("-inf"))):
            tensor[kind * interface.features :][: interface.features].fill_diagonal_(odd)
        last = tensor[3 * interface.features :]
        where = torch.from_numpy(pick.random(last.shape) < 0.3)
        last[where] = torch.from_numpy(pick.choice([np.nan, np.inf, -np.inf], int(where.sum())).astype(np.float32))
    return made


def independent(run: Run, interface: Interface, found: Known) -> bool:
    """Whether a row is answered alone as it is among others."""
    together = rows(run, interface, found)
    with torch.no_grad():
        among = first(run(*together)).reshape(AMONG, -1)[:ALONE]
        alone = torch.cat(
            [first(run(*(tensor[i : i + 1] for tensor in together))).reshape(1, -1) for i in range(ALONE)]
        )
    size = float(among.abs().nan_to_num().max())
    apart = float((among - alone).abs().nan_to_num(nan=0.0).max())
    return apart <= APART * max(size, 1e-6) and not bool((among.isnan() != alone.isnan()).any())


def within_one(run: Run, interface: Interface, found: Known) -> bool:
    """Whether all answers to random rows lie between 0 and 1, as probabilities do and margins hardly ever."""
    with torch.no_grad():
        answer = first(run(*rows(run, interface, found)))
    return bool(((answer >= 0) & (answer <= 1)).all())
