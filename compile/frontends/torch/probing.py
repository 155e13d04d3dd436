"""What is found out of a net by asking it: how many codes it knows, and whether rows affect each other."""

from __future__ import annotations

import torch

from .interface import Interface
from .run_net import Run, Tensors, answers, first

ALONE, AMONG = 8, 33
"""So many rows are asked one by one, and again among so many."""
APART = 1e-4
"""Of the answers' own size: more than other orders of adding up make of a row's answer."""
MOST_CODES = 1 << 24
UNLIMITED = (1 << 31) - 1


def rows(interface: Interface, counts: tuple[int, ...], size: int = AMONG, seed: int = 0) -> tuple[torch.Tensor, ...]:
    """Random rows in the order of the net's inputs: normal numbers, in every other row numbers from 0 to 1 (which are
    codes where a net takes some out of its numbers), codes below their counts."""
    made = torch.Generator().manual_seed(seed)
    numbers = torch.randn(size, interface.features, generator=made)
    numbers[1::2] = torch.rand(numbers[1::2].shape, generator=made)
    limits = torch.tensor([min(count, MOST_CODES) for count in counts], dtype=torch.float64)
    codes = (torch.rand(size, len(counts), generator=made, dtype=torch.float64) * limits).to(torch.int64)
    return _in_order(interface, numbers, codes)


def _in_order(interface: Interface, numbers: torch.Tensor, codes: torch.Tensor) -> Tensors:
    """As the net takes them."""
    return tuple(numbers if role == "numbers" else codes for role in interface.inputs)


def code_counts(run: Run, interface: Interface) -> tuple[int, ...]:
    """How many codes each column takes, from 0 on: the first that the net fails on. A net that looks a code up behind
    an offset of its own fails only at the end of the whole table: then this is too many, and ``code_counts=`` of
    save_net says better."""
    found = []
    for column in range(interface.codes):
        low, high = 0, 1
        while high <= MOST_CODES and _takes(run, interface, column, high):
            low, high = high, high * 2
        if high > MOST_CODES:
            found.append(UNLIMITED)
            continue
        while high - low > 1:
            middle = (low + high) // 2
            low, high = (middle, high) if _takes(run, interface, column, middle) else (low, middle)
        found.append(high)
    return tuple(found)


def _takes(run: Run, interface: Interface, column: int, code: int) -> bool:
    codes = torch.zeros(2, interface.codes, dtype=torch.int64)
    codes[:, column] = code
    return answers(run, _in_order(interface, torch.zeros(2, interface.features), codes))


def takes_odd_numbers(run: Run, interface: Interface, counts: tuple[int, ...]) -> bool:
    """Whether the net answers a row with a NaN or an infinity in it at all, whatever it answers."""
    if not interface.features:
        return True
    for odd in (float("nan"), float("inf"), float("-inf")):
        given = rows(interface, counts, size=interface.features)
        for tensor, role in zip(given, interface.inputs, strict=True):
            if role == "numbers":
                tensor.fill_diagonal_(odd)
        if not answers(run, given):
            return False
    return True


def independent(run: Run, interface: Interface, counts: tuple[int, ...]) -> bool:
    """Whether a row is answered alone as it is among others."""
    together = rows(interface, counts)
    with torch.no_grad():
        among = first(run(*together)).reshape(AMONG, -1)[:ALONE]
        alone = torch.cat(
            [first(run(*(tensor[i : i + 1] for tensor in together))).reshape(1, -1) for i in range(ALONE)]
        )
    size = float(among.abs().nan_to_num().max())
    apart = float((among - alone).abs().nan_to_num(nan=0.0).max())
    return apart <= APART * max(size, 1e-6) and not bool((among.isnan() != alone.isnan()).any())


def within_one(run: Run, interface: Interface, counts: tuple[int, ...]) -> bool:
    """Whether all answers to random rows lie between 0 and 1, as probabilities do and margins hardly ever."""
    with torch.no_grad():
        answer = first(run(*rows(interface, counts)))
    return bool(((answer >= 0) & (answer <= 1)).all())
