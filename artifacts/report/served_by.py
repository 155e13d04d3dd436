"""By what the winner is served, what the other way would give, and the lines of a Dockerfile that bring it."""

from __future__ import annotations

from ...compile.kernel import TRITON_LIBRARY
from ...values import Record, ServedWay, Value

COPY_IT = 'cp "$(millwork triton backend)" .'
"""What puts our backend's library beside a Dockerfile."""


class ServedBy(Value):
    """``sentence`` begins with a capital and has its full stop; ``lead`` says what the ``dockerfile`` is for, and both
    are empty where a stock Triton lacks nothing and no other way does better."""

    sentence: str
    lead: str = ""
    dockerfile: tuple[str, ...] = ()


def served_by(record: Record) -> ServedBy | None:
    """None where nothing was chosen, or nobody said by what it is served."""
    return None if record.served is None else block(record.served)


def block(served: ServedWay, *, whole: bool = False) -> ServedBy:
    """What is said of a way to serve. ``whole``: the lines, too, of a server that is known to have what they bring."""
    sentence = f"{served.sentence[:1].upper()}{served.sentence[1:]}."
    if not served.dockerfile or (served.known and not whole):
        return ServedBy(sentence=sentence)
    ours = any(TRITON_LIBRARY in line for line in served.dockerfile)
    first = f", after {COPY_IT}" if ours else ""
    lines = "Two lines add it" if len(served.dockerfile) == 2 else "These lines add it"
    return ServedBy(sentence=sentence, lead=f"{lines} to your image of Triton{first}:", dockerfile=served.dockerfile)
