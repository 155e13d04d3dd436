"""A client that asks a Triton all the time, and knows whose answers it is given and which version says it gave them."""

from __future__ import annotations

import json
import random
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from storms.known import Known

MOST_ROWS = 4
SHOWN = 20
WAIT_S = 0.02
TIMEOUT_S = 60.0


@dataclass
class Asked:
    """``answers``: ``NAME/N``, as the server reported it -> whose answers they were -> how often."""

    requests: int = 0
    failures: list[str] = field(default_factory=list)
    failed: int = 0
    answers: dict[str, dict[str, int]] = field(default_factory=dict)

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self)))

    def note(self, reported: str, variant: str) -> None:
        whose = self.answers.setdefault(reported, {})
        whose[variant] = whose.get(variant, 0) + 1


def read(path: Path) -> Asked:
    return Asked(**json.loads(path.read_text()))


def ask(
    url: str, known: Known, seed: int, over: Callable[[], bool], pause_s: float, count: Callable[[int], None]
) -> Asked:
    """Ask the models of ``known`` at random until ``over``, a few rows a request; ``pause_s`` between two. ``count``:
    told how many were sent."""
    from tritonclient.utils import InferenceServerException

    from millwork.triton import channel
    from millwork.triton.credentials import NONE

    client = channel.client(url, NONE)
    rng = random.Random(seed)
    asked = Asked()
    while not over():
        name = rng.choice(known.names)
        rows = rng.randint(1, MOST_ROWS)
        first = rng.randrange(len(known.rows) - rows)
        asked.requests += 1
        count(asked.requests)
        began = time.monotonic()
        try:
            version, got = _request(client, name, known, first, rows)
            asked.note(f"{name}/{version}", known.variant_that_answers(got, first))
        except InferenceServerException as error:
            asked.failed += 1
            if len(asked.failures) < SHOWN:
                asked.failures.append(f"{began:.3f} to {time.monotonic():.3f}, {name}: {error.message()}")
        time.sleep(pause_s)
    client.close()
    return asked


def wait_until_answered(url: str, known: Known, seconds: float) -> None:
    """Until every model answers."""
    from tritonclient.utils import InferenceServerException

    from millwork.triton import channel
    from millwork.triton.credentials import NONE

    client = channel.client(url, NONE)
    until = time.monotonic() + seconds
    for name in known.names:
        while True:
            try:
                _request(client, name, known, 0, 1)
            except InferenceServerException:
                if time.monotonic() > until:
                    raise
                time.sleep(WAIT_S)
            else:
                break
    client.close()


def _request(client: Any, name: str, known: Known, first: int, count: int) -> tuple[str, Any]:
    """The version that says it answers, and its answers [count, K]."""
    import tritonclient.grpc

    sent = tritonclient.grpc.InferInput("input__0", [count, known.rows.shape[1]], "FP32")
    sent.set_data_from_numpy(known.rows[first : first + count])
    answer = client.infer(name, [sent], client_timeout=TIMEOUT_S)
    return answer.get_response().model_version, answer.as_numpy("output__0")
