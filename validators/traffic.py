"""What the model is asked: which batch sizes in which shares of the requests, and how they arrive.

    batch=1:0.8,16:0.15,256:0.05 rate=2000/s    open loop: 2,000 requests a second on average, arrivals Poisson,
                                                 whatever the server does
    batch=64 clients=4                           closed loop: four clients, each sends when its last one is answered
    requests.csv                                 a recorded file: arrival times and batch sizes (see recording.py)

A rate counts requests, not rows. What a spec leaves out is assumed, and said (``assumed``).
"""

from __future__ import annotations

import re
from pathlib import Path

from ..errors import UsageError
from ..storage.files import is_file, sha256_file
from ..storage.inputs import require_file
from ..values import Value
from . import recording

DEFAULT = "batch=1:0.9,64:0.1 clients=4"
ASSUMED_CLIENTS = 4
LARGEST_BATCH = 1 << 20
MOST_CLIENTS = 4096
HIGHEST_RATE = 1e6
EXAMPLES = "Examples: 'batch=1:0.9,64:0.1 rate=2000/s', 'batch=64 clients=4', or a recorded file."
PER = {"": 1.0, "/s": 1.0, "/min": 60.0, "/h": 3600.0}
"""Seconds in the unit of a rate."""
MOST_SHARES = 16
"""A recorded file's batch sizes are many: shares are given for so many groups of them."""


class Share(Value):
    """``share`` of the requests have ``batch`` rows; shares add up to 1."""

    batch: int
    share: float


class Traffic(Value):
    """Shares of batch sizes, and either a ``rate`` (requests a second, open loop) or a number of ``clients`` (closed).

    ``recording``: the file that ``shares`` and ``rate`` come from, its arrivals replayed as they were; ``sha256``
    its content. ``assumed``: what nobody said, in words.
    """

    shares: tuple[Share, ...]
    rate: float | None = None
    clients: int | None = None
    recording: str = ""
    sha256: str = ""
    assumed: str = ""

    @property
    def open(self) -> bool:
        return self.rate is not None

    @property
    def batches(self) -> tuple[int, ...]:
        return tuple(share.batch for share in self.shares)

    @property
    def rows_a_request(self) -> float:
        """Rows of a request, on average."""
        return sum(share.batch * share.share for share in self.shares)

    @property
    def words(self) -> str:
        """As ``--traffic`` takes it."""
        if self.recording:
            return f"{Path(self.recording).name} ({self.rate:,.4g} requests/s, {self.rows_a_request:,.4g} rows each)"
        if len(self.shares) == 1:
            sizes = str(self.shares[0].batch)
        else:
            sizes = ",".join(f"{share.batch}:{share.share:.4g}" for share in self.shares)
        how = f"rate={self.rate:.6g}/s" if self.rate is not None else f"clients={self.clients}"
        return f"batch={sizes} {how}"

    def at(self, rate: float) -> Traffic:
        """The same batch sizes in an open loop at ``rate`` requests a second."""
        return Traffic(shares=self.shares, rate=rate)


def parse(spec: str) -> Traffic:
    """The traffic that ``spec`` says; UsageError where it says none."""
    if "=" not in spec and spec and is_file(Path(spec)):
        return _recorded(Path(spec).absolute())
    if "=" not in spec and spec:
        require_file(Path(spec), "--traffic")
    if "=" not in spec and Path(spec).suffix:
        raise UsageError(f"--traffic {spec}: there is no such file", EXAMPLES)
    fields: dict[str, str] = {}
    for part in spec.split():
        name, _, value = part.partition("=")
        if name not in ("batch", "rate", "clients") or name in fields:
            raise _wrong(spec)
        fields[name] = value
    if "rate" in fields and "clients" in fields:
        raise UsageError(
            f"--traffic {spec!r}: rate= is an open loop and clients= a closed one", f"Give one of them. {EXAMPLES}"
        )
    if not fields:
        raise _wrong(spec)
    shares = _shares(fields["batch"], spec) if "batch" in fields else (Share(batch=1, share=1.0),)
    if "rate" in fields:
        return Traffic(shares=shares, rate=_rate(fields["rate"], spec))
    if "clients" in fields:
        return Traffic(shares=shares, clients=_clients(fields["clients"], spec))
    return Traffic(shares=shares, clients=ASSUMED_CLIENTS, assumed=f"clients={ASSUMED_CLIENTS}")


def default() -> Traffic:
    """What is assumed where nothing is said."""
    found = parse(DEFAULT)
    return Traffic(shares=found.shares, clients=found.clients, assumed=DEFAULT)


def _shares(text: str, spec: str) -> tuple[Share, ...]:
    entries = [re.fullmatch(r"(\d{1,9})(?::(\d{0,9}\.?\d{1,9}))?", part) for part in text.split(",")]
    if not all(entries):
        raise _wrong(spec)
    pairs = [(int(entry[1]), float(entry[2] or 1)) for entry in entries if entry]
    total = sum(share for _, share in pairs)
    sizes = [batch for batch, _ in pairs]
    if not total > 0 or min(sizes) < 1 or max(sizes) > LARGEST_BATCH or len(set(sizes)) != len(sizes):
        raise _wrong(spec)
    return tuple(Share(batch=batch, share=share / total) for batch, share in sorted(pairs) if share > 0)


def _rate(text: str, spec: str) -> float:
    found = re.fullmatch(r"(\d{1,9}(?:\.\d{1,9})?)(/s|/min|/h|)", text)
    rate = float(found[1]) / PER[found[2]] if found else 0.0
    if not 0 < rate <= HIGHEST_RATE:
        raise UsageError(
            f"--traffic {spec!r}: rate={text} isn't a number of requests a second",
            f"Above 0, at most {HIGHEST_RATE:,.0f}: rate=2000/s, rate=90/min.",
        )
    return rate


def _clients(text: str, spec: str) -> int:
    clients = int(text) if re.fullmatch(r"\d{1,6}", text) else 0
    if not 0 < clients <= MOST_CLIENTS:
        raise UsageError(f"--traffic {spec!r}: clients={text}: expected 1 to {MOST_CLIENTS}")
    return clients


def _recorded(path: Path) -> Traffic:
    found = recording.read(path)
    return Traffic(
        shares=tuple(Share(batch=batch, share=share) for batch, share in recording.shares(found, MOST_SHARES)),
        rate=found.rate,
        recording=str(path),
        sha256=sha256_file(path),
        assumed=found.assumed,
    )


def _wrong(spec: str) -> UsageError:
    return UsageError(f"--traffic {spec!r} must say batch sizes with their shares, and how requests arrive", EXAMPLES)
