"""A publication is a compare-and-swap: on terms that say what was read and what may be replaced, in a folder and in a
store alike."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import msgspec
import pytest

from millwork.artifacts.manifest import SIGNATURE_FILE
from millwork.artifacts.repository import Repository, reading
from millwork.artifacts.repository.terms import NONE, RefusedError, Terms
from millwork.errors import ParityError, PublicationError, UsageError
from millwork.values import FeatureContract, OutputContract

ALLOWED = Terms(allow_contract_change=True, allow_unsigned=True)
MORE = FeatureContract(names=("a", "b", "c"), named=True)


def sign(folder: Path) -> None:
    (folder / SIGNATURE_FILE).write_text('{"verificationMaterial": {"publicKey": {"hint": "f00d"}}}')


def refuse(_: int) -> None:
    raise ParityError("wrong")


def state(repository: Repository) -> tuple[int | None, list[int], str]:
    return repository.serves("m"), [entry.version for entry in repository.versions("m")], repository.config("m")


@pytest.mark.parametrize(
    "change",
    [
        lambda there, bundle: there.publish(bundle),
        lambda there, _: there.rollback("m"),
        lambda there, _: there.rollback("m", 1, terms=Terms(expected=2)),
    ],
    ids=["a publication", "a rollback", "a rollback by number"],
)
@pytest.mark.parametrize(
    "late",
    [
        lambda there, bundle, read: there.publish(bundle, terms=read),
        lambda there, _, read: there.rollback("m", terms=read),
    ],
    ids=["then a publication", "then a rollback"],
)
def test_who_read_another_version_than_serves_changes_nothing(
    anywhere: Repository, make_bundle, change: Callable[..., object], late: Callable[..., object]
) -> None:
    for content in (b"1", b"2"):
        anywhere.publish(make_bundle(content))
    read = Terms(expected=anywhere.serves("m"), config=anywhere.config("m"))
    change(anywhere, make_bundle(b"3"))
    before = state(anywhere)
    with pytest.raises(RefusedError, match=f"published meanwhile: version {before[0]} serves, 2 was read") as caught:
        late(anywhere, make_bundle(b"late"), read)
    assert caught.value.exit_code == 7
    assert state(anywhere) == before


def test_who_read_what_serves_is_heard_and_so_is_who_read_nothing(anywhere: Repository, make_bundle) -> None:
    assert anywhere.publish(make_bundle(b"1"), terms=Terms(expected=NONE)).version == 1
    assert anywhere.publish(make_bundle(b"2"), terms=Terms(expected=1, config=anywhere.config("m"))).version == 2
    with pytest.raises(RefusedError, match="version 2 serves, none served when it was read"):
        anywhere.publish(make_bundle(b"3"), terms=Terms(expected=NONE))
    assert anywhere.rollback("m", 2, terms=Terms(expected=1)).version == 2, "what it asks for is so already"


def test_what_is_published_between_the_look_and_the_put_is_seen(anywhere: Repository, make_bundle) -> None:
    """Of two that read the same version and publish at once, one is done."""
    anywhere.publish(make_bundle(b"1"))
    read = Terms(expected=1, config=anywhere.config("m"))
    bundles = [make_bundle(f"late {number}".encode()) for number in range(4)]

    def publish(bundle: object) -> str:
        try:
            return f"version {anywhere.publish(bundle, terms=read).version}"
        except RefusedError as error:
            return type(error).__name__

    with ThreadPoolExecutor(len(bundles)) as publishers:
        ended = list(publishers.map(publish, bundles))
    assert sorted(ended)[:3] == ["RefusedError"] * 3
    assert sorted(ended)[3].startswith("version ")
    assert [entry.version for entry in anywhere.versions("m")] == [1, anywhere.serves("m")]


def test_an_edit_of_the_configuration_that_was_read_is_not_overwritten(
    anywhere: Repository, make_bundle, edit: Callable[[str, str], None]
) -> None:
    anywhere.publish(make_bundle(b"1"))
    read = Terms(expected=1, config=anywhere.config("m"))
    edit("m/config.pbtxt", anywhere.config("m").replace("count: 1", "count: 2"))
    with pytest.raises(RefusedError, match=r"config\.pbtxt, by which version 1 serves, was changed meanwhile"):
        anywhere.publish(make_bundle(b"2"), terms=read)
    assert "count: 2" in anywhere.config("m")


def test_many_who_bring_something_new_are_all_published(anywhere: Repository, make_bundle) -> None:
    bundles = [make_bundle(str(number).encode()) for number in range(5)]
    with ThreadPoolExecutor(len(bundles)) as publishers:
        found = publishers.map(lambda bundle: anywhere.publish(bundle).version, bundles)
    assert len(set(found)) == len(bundles)


# ── signatures ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_signed_version_is_replaced_by_an_unsigned_one_only_if_that_is_said(
    anywhere: Repository, make_bundle, edit: Callable[[str, str | None], None]
) -> None:
    anywhere.publish(make_bundle(b"1"), sign=sign)
    before = state(anywhere)
    with pytest.raises(UsageError, match="version 1, which serves, is signed, and the new one wouldn't be") as caught:
        anywhere.publish(make_bundle(b"2"))
    assert caught.value.exit_code == 2
    assert state(anywhere) == before
    edit("m/1/model.sig", None)
    with pytest.raises(UsageError, match="is signed"):  # our notes know it, too
        anywhere.publish(make_bundle(b"2"))
    assert anywhere.publish(make_bundle(b"3"), sign=sign).version > 1
    assert anywhere.publish(make_bundle(b"4"), terms=Terms(allow_unsigned=True)).version > 2
    assert anywhere.publish(make_bundle(b"5")).version > 3


# ── contracts ─────────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"features": MORE}, "input__0: with 'c'"),
        ({"features": FeatureContract(names=("b", "a"), named=True)}, "input__0, in order: 'a', 'b'; now 'b', 'a'"),
        (
            {"features": FeatureContract(names=("a", "b"), named=True, dtypes=("float32", "category code"))},
            "feature 'b': float32; now category code",
        ),
        ({"features": FeatureContract(names=("a", "b"), named=True, missing=-999.0)}, "only NaN; now -999"),
        (
            {"features": FeatureContract(names=("a", "b"), named=True, category_names=("k",), category_dtype="int64")},
            "input__1: with 'k'",
        ),
        (
            {"output": OutputContract(kind="margin", task="binary", labels=("no", "yes"))},
            "what output__0 holds: probability; now margin",
        ),
        (
            {"output": OutputContract(kind="probability", task="multiclass", labels=("no", "yes", "?"))},
            "output__0: with '?'",
        ),
    ],
)
def test_another_contract_under_a_name_that_serves_is_refused_unless_it_is_said(
    anywhere: Repository, make_bundle, changes: dict[str, object], told: str
) -> None:
    plain = FeatureContract(names=("a", "b"), named=True, dtypes=("float32", "float32"))
    anywhere.publish(make_bundle(b"1", features=plain))
    if isinstance(other := changes.get("features"), FeatureContract) and not other.dtypes:
        changes = {**changes, "features": msgspec.structs.replace(other, dtypes=("float32",) * len(other.names))}
    before = state(anywhere)
    with pytest.raises(RefusedError, match=r"would meet another contract:\n  ") as caught:
        anywhere.publish(make_bundle(b"2", **changes))
    assert told in caught.value.message
    assert state(anywhere) == before
    published = anywhere.publish(make_bundle(b"2", **changes), terms=ALLOWED)
    assert told in published.notes[0]
    back = anywhere.rollback("m")
    assert "another contract" in back.notes[0]
    assert anywhere.publish(make_bundle(b"3", features=plain)).notes == ()


def test_the_contract_is_compared_with_what_serves_not_with_what_failed(anywhere: Repository, make_bundle) -> None:
    anywhere.publish(make_bundle(b"1"))
    with pytest.raises(PublicationError, match="wrong"):
        anywhere.publish(make_bundle(b"2", features=MORE), verify=refuse, terms=ALLOWED)
    assert anywhere.publish(make_bundle(b"3")).version == 3


# ── what serves, read while others publish ────────────────────────────────────────────────────────────────


def test_what_serves_is_read_again_where_another_does_by_then(
    anywhere: Repository, make_bundle, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The version that is read first is taken back before its files are."""
    anywhere.publish(make_bundle(b"1"))
    seen: list[int] = []

    def look(_: int) -> None:
        find = type(anywhere).find

        def taken_back(self: Repository, name: str, version: int | None = None) -> int:
            seen.append(find(self, name, version))
            monkeypatch.setattr(type(anywhere), "find", find)
            return seen[-1]

        monkeypatch.setattr(type(anywhere), "find", taken_back)
        assert anywhere.find("m") == 2
        raise ParityError("wrong")

    with pytest.raises(PublicationError, match="wrong"):
        anywhere.publish(make_bundle(b"2"), verify=look)
    monkeypatch.setattr(type(anywhere), "find", lambda *_: seen.pop() if seen else 1)
    found = reading.found(anywhere, "m", None, tmp_path)
    assert found.version == 1
    assert (found.folder / "model.onnx").read_bytes() == b"1"
