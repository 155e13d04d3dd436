"""What a run would replace, said before the work wherever it shows: a publication is refused by the same rules."""

from __future__ import annotations

from ..artifacts.repository import contract, terms
from .plan import Plan
from .run import Model


def foresee(plan: Plan) -> None:
    """Raise at once what needs nothing but a look: another version than was expected, a signature that would be
    lost."""
    if plan.repository is None:
        return
    serves = plan.repository.incumbent(plan.name)
    terms.require_expected(plan.name, serves.version, plan.terms)
    terms.require_signature(plan.name, serves, plan.terms, signs=plan.sign is not None)


def foresee_contract(plan: Plan, model: Model) -> None:
    """Raise as soon as the model is read that its clients would meet another contract."""
    if plan.repository is None:
        return
    serves = plan.repository.incumbent(plan.name)
    if serves.manifest is None:
        return
    changes = [
        *contract.of_features(serves.manifest.features, model.signature.features),
        *contract.of_output(serves.manifest.output, model.signature.output),
    ]
    terms.require_contract(plan.name, serves, changes, plan.terms)
