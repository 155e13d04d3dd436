"""How to ask what was chosen: the commands, a request that can be sent as it is, and the tensors."""

from __future__ import annotations

import shlex

from ...values import Record, Value
from . import sections
from .verdict import model_name

LONGEST_LINE = 3000
"""Characters of a request that the page shows; a longer one is the client's to print."""


class Calling(Value):
    """``before``: what must be done first, or empty. ``curl`` is empty where the request is long; ``answer`` is the
    framework's."""

    before: str
    commands: tuple[sections.Command, ...]
    curl: str
    answer: str
    tensors: tuple[sections.Fact, ...]


def calling(record: Record) -> Calling | None:
    """None where nothing was chosen."""
    example = record.example
    if example is None:
        return None
    body = shlex.quote(example.request)
    url = f"{sections.HTTP}/v2/models/{model_name(record) if record.publication else 'NAME'}/infer"
    line = f"curl -s -H 'Content-Type: application/json' -d {body} {url}"
    return Calling(
        before="" if record.publication is not None else "Nothing serves yet: this is how it is asked once published.",
        commands=sections.commands(record),
        curl=line if len(line) <= LONGEST_LINE else "",
        answer=", ".join(example.answer),
        tensors=sections.tensors(record),
    )
