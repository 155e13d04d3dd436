"""One Triton configuration of a model, as a value: what the tuner tries and config.pbtxt says."""

from __future__ import annotations

from typing import Literal

import msgspec

from ..values import Value
from ..values.contracts import MAX_BATCH

Kind = Literal["cpu", "gpu"]


class Settings(Value):
    """``instances`` of the model (on a GPU: on each of ``gpus``, all there are where it is empty), ``threads`` of one
    call in one instance.

    ``batching``: the server's dynamic batching, with ``preferred`` sizes in rows and up to ``delay_us`` microseconds
    waited for more. ``max_queue``: requests that may wait (0: no limit), more are refused; ``timeout_us``: how long
    one may wait before it is refused (0: no limit). ``own``: the Triton backend's own settings, by the name that
    ``knobs.py`` has them under.
    """

    instances: int = 1
    threads: int = 1
    batching: bool = True
    preferred: tuple[int, ...] = ()
    delay_us: int = 0
    max_queue: int = 0
    timeout_us: int = 0
    max_batch: int = MAX_BATCH
    kind: Kind = "cpu"
    gpus: tuple[int, ...] = ()
    own: dict[str, str] = msgspec.field(default_factory=dict)

    @property
    def words(self) -> str:
        """In a few words: ``2 instances, 1 thread, batching, delay 200 µs``."""
        parts = [_count(self.instances, "instance"), *(["GPU"] if self.kind == "gpu" else [])]
        if self.kind == "cpu":
            parts.append(_count(self.threads, "thread"))
        parts.append("batching" if self.batching else "no batching")
        if self.delay_us:
            parts.append(f"delay {self.delay_us} µs")
        if self.preferred:
            parts.append(f"preferred {'/'.join(map(str, self.preferred))}")
        if self.max_queue:
            parts.append(f"queue {self.max_queue}")
        return ", ".join([*parts, *(f"{name} {value}" for name, value in sorted(self.own.items()))])

    @property
    def simplicity(self) -> tuple[int, ...]:
        """The smaller, the simpler: what is chosen where two can't be told apart."""
        asked = bool(self.delay_us) + bool(self.preferred) + bool(self.max_queue) + bool(self.timeout_us)
        return (self.instances * self.threads, asked + len(self.own), self.instances, self.delay_us, int(self.batching))


def _count(number: int, what: str) -> str:
    return f"{number} {what}{'' if number == 1 else 's'}"
