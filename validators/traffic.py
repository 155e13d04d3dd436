"""What the model is asked: which batch sizes, in which shares of the requests. ``batch=1:0.8,64:0.2``."""

from __future__ import annotations

import re

from ..errors import UsageError
from ..values import Value

DEFAULT = "batch=1:0.9,64:0.1"
LARGEST_BATCH = 1 << 20


class Share(Value):
    """``share`` of the requests have ``batch`` rows; shares add up to 1."""

    batch: int
    share: float


def parse(spec: str) -> tuple[Share, ...]:
    """``batch=1:0.8,16:0.15,256:0.05`` or ``batch=64``. UsageError for anything else, and for what only the tuner
    would know what to do with (rate, clients)."""
    fields = dict(part.partition("=")[::2] for part in spec.split())
    later = [name for name in ("rate", "clients") if name in fields]
    if later:
        raise UsageError(
            f"--traffic {spec!r}: {later[0]}= is not supported in this version",
            "Give batch sizes and their shares only.",
        )
    if set(fields) != {"batch"} or len(spec.split()) > 1:
        raise _wrong(spec)
    entries = [re.fullmatch(r"(\d{1,9})(?::(\d{0,9}\.?\d{1,9}))?", part) for part in fields["batch"].split(",")]
    if not all(entries):
        raise _wrong(spec)
    pairs = [(int(entry[1]), float(entry[2] or 1)) for entry in entries if entry]
    total = sum(share for _, share in pairs)
    sizes = [batch for batch, _ in pairs]
    if not total > 0 or min(sizes) < 1 or max(sizes) > LARGEST_BATCH or len(set(sizes)) != len(sizes):
        raise _wrong(spec)
    return tuple(Share(batch=batch, share=share / total) for batch, share in sorted(pairs))


def _wrong(spec: str) -> UsageError:
    return UsageError(f"--traffic {spec!r} isn't batch sizes with shares", f"Example: {DEFAULT!r}.")
