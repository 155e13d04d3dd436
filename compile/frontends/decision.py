"""``--output label``: the number of the class that a classifier decides for, instead of probabilities."""

from __future__ import annotations

from dataclasses import replace

import msgspec

from ...errors import ModelError
from ...passes.net import Net
from ...passes.program import Decision
from .loaded_model import LoadedModel


def decided(model: LoadedModel) -> LoadedModel:
    """A model of probabilities as one of labels. ModelError where the model isn't a classifier.

    Binary: 1 where the second class's probability is above the model's own threshold; several classes: the one with the
    largest probability, the first of equals; several labels: 1 where a label's probability is above one half.
    """
    output = model.signature.output
    if output.kind != "probability":
        raise ModelError(
            f"--output label: the model answers with {'margins' if output.kind == 'margin' else 'values'}, and only a "
            "classifier's probabilities decide for a label",
            "Leave --output out.",
        )
    if output.task == "binary":
        decision = Decision(how="second", cut=0.5 if output.threshold is None else output.threshold)
    elif output.task == "multilabel":
        decision = Decision(how="each", cut=0.5)
    else:
        decision = Decision(how="largest")
    names = output.labels if decision.how == "each" else ("label",)
    signature = msgspec.structs.replace(
        model.signature,
        output=msgspec.structs.replace(output, kind="label", labels=names, classes=output.labels, threshold=None),
        oracle=msgspec.structs.replace(
            model.signature.oracle,
            parameters={**model.signature.oracle.parameters, "decision": decision.how, "cut": repr(decision.cut)},
        ),
    )
    own = model.program
    if isinstance(own, Net):
        net = replace(own, interface=msgspec.structs.replace(own.interface, decision=decision))
        return replace(model, signature=signature, program=net)
    return replace(model, signature=signature, program=replace(own, decision=decision))
