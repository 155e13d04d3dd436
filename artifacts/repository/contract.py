"""What a client of one version would meet in another: the difference between two contracts, a line each."""

from __future__ import annotations

from collections.abc import Iterable

from ...errors import ModelError
from ...triton import config as triton_config
from ...values import FeatureContract, Manifest, OutputContract

SHOWN = 5
"""Names in a line."""


def changes(was: Manifest | None, was_config: str, will: Manifest, will_config: str) -> list[str]:
    """What differs for a client; nothing where the one before isn't known (no manifest, and tensors left to Triton)."""
    wire = _tensors(was_config, will_config)
    if was is None:
        return wire
    return [
        *wire,
        *of_features(was.features, will.features),
        *of_output(was.output, will.output),
    ]


def of_features(was: FeatureContract, will: FeatureContract) -> list[str]:
    """What a client would send otherwise."""
    names = _names("input__0", was.names, will.names)
    categories = _names("input__1", was.category_names, will.category_names)
    order = []
    if not names and not categories and was.all_names != will.all_names:
        order = [f"the order of the features: {_listed(was.all_names)}; now {_listed(will.all_names)}"]
    dtypes = []
    if was.names == will.names:
        pairs = zip(was.names, was.dtypes, will.dtypes, strict=False)
        dtypes = [f"feature {name!r}: {before}; now {after}" for name, before, after in pairs if before != after]
    kind = _change("the categories' type", was.category_dtype or "none", will.category_dtype or "none")
    missing = _change("the number that stands for a missing value", _missing(was), _missing(will))
    return [*names, *categories, *order, *_few(dtypes), *kind, *missing]


def of_output(was: OutputContract, will: OutputContract) -> list[str]:
    """What a client would get otherwise."""
    return [
        *_change("what output__0 holds", was.kind, will.kind),
        *_change("the task", was.task, will.task),
        *_names("output__0", was.labels, will.labels),
        *_names("the classes", was.classes, will.classes),
    ]


def _tensors(was: str, will: str) -> list[str]:
    """Inputs and outputs by their configurations, where the one before says any."""
    try:
        before, after = triton_config.parse(was), triton_config.parse(will)
    except ModelError:  # fields of another release: then what the manifest says has to do
        return []
    found = []
    for kind in ("input", "output"):
        old, new = ({one.name: one for one in getattr(config, kind)} for config in (before, after))
        if not old:
            continue
        for name in sorted({*old, *new}):
            found += _change(f"{kind} {name}", _tensor(old.get(name)), _tensor(new.get(name)))
    return found


def _tensor(tensor: object) -> str:
    if tensor is None:
        return "none"
    kind = type(tensor).DESCRIPTOR.fields_by_name["data_type"].enum_type.values_by_number  # type: ignore[attr-defined]
    dims = ", ".join(map(str, tensor.dims))  # type: ignore[attr-defined]
    return f"{kind[tensor.data_type].name.removeprefix('TYPE_')} [{dims}]"  # type: ignore[attr-defined]


def _names(what: str, was: tuple[str, ...], will: tuple[str, ...]) -> list[str]:
    if was == will:
        return []
    gone = [name for name in was if name not in set(will)]
    new = [name for name in will if name not in set(was)]
    if not gone and not new:
        return [f"{what}, in order: {_listed(was)}; now {_listed(will)}"]
    told = [f"without {_listed(gone)}"] if gone else []
    return [f"{what}: {', '.join([*told, *([f'with {_listed(new)}'] if new else [])])}"]


def _change(what: str, was: str, will: str) -> list[str]:
    return [] if was == will else [f"{what}: {was}; now {will}"]


def _missing(contract: FeatureContract) -> str:
    return "only NaN" if contract.missing is None else f"{contract.missing:g}"


def _listed(names: Iterable[str]) -> str:
    shown = [repr(name) for name in names]
    more = f" and {len(shown) - SHOWN} more" if len(shown) > SHOWN else ""
    return ", ".join(shown[:SHOWN]) + more


def _few(lines: list[str]) -> list[str]:
    return [*lines[:SHOWN], *([f"and {len(lines) - SHOWN} more features"] if len(lines) > SHOWN else [])]
