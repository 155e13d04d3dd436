"""``LoadedModel``: what a frontend makes of a file."""

from __future__ import annotations

from dataclasses import dataclass

from ...passes.net import Net
from ...passes.program import Program
from ...values import FeatureContract, OutputContract, Provenance, Value


class Oracle(Value):
    """How to ask the framework itself: the runner ``framework``'s own settings, and the version that wrote the model.

    ``native_file`` is the framework's own file, ``parameters`` are the runner's (see ``compile/runners``).
    """

    framework: str
    version: str
    native_file: str
    parameters: dict[str, str]


class Signature(Value):
    """All that is known of a model but its trees."""

    provenance: Provenance
    features: FeatureContract
    output: OutputContract
    objective: str
    oracle: Oracle
    notes: tuple[str, ...] = ()

    @property
    def is_net(self) -> bool:
        """A net, not trees: its program is a graph, and no leaf is looked at."""
        return self.provenance.framework == "torch"


@dataclass(frozen=True, eq=False)
class NativeFile:
    """The model as its framework reads it. ``name`` says the format to the oracle."""

    name: str
    content: bytes


@dataclass(frozen=True, eq=False)
class LoadedModel:
    """``native``: the framework's own bytes, for the oracle and the reference candidate."""

    signature: Signature
    program: Program | Net
    native: bytes
