"""What a storm's checker says of what is planted: each fault is told, and a whole repository isn't."""

from __future__ import annotations

import shutil
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

sys.path.append(str(Path(__file__).parents[1]))

from storms import calm, checker
from storms.checker import Change, There, Watcher
from storms.jobs import Ended
from storms.known import DAMAGED, SIGNED, Known, sha256
from storms.plan import PUBLISH, ROLLBACK, WRONG, Job

from millwork.artifacts.bundle import Bundle
from millwork.artifacts.repository import LocalRepository, layout, publish

ROWS = np.arange(8, dtype=np.float32).reshape(4, 2)
ANSWERS = {"one": ROWS / 10, "two": ROWS / 5}


@pytest.fixture
def bundles(make_bundle: Callable[..., Bundle]) -> dict[str, Bundle]:
    return {variant: make_bundle(variant.encode()) for variant in ANSWERS}


@pytest.fixture
def known(bundles: dict[str, Bundle], tmp_path: Path) -> Known:
    contents = {sha256(bundle.folder / "model.onnx"): variant for variant, bundle in bundles.items()}
    return Known(tmp_path, ("m",), tuple(ANSWERS), contents, ROWS, ANSWERS)


@pytest.fixture
def watcher(bundles: dict[str, Bundle], known: Known, repository: Path) -> Watcher:
    """At a repository in which version 2 of two serves."""
    for bundle in bundles.values():
        publish(bundle, repository)
    return Watcher(LocalRepository(root=repository), known)


def told(watcher: Watcher, *names: str) -> list[str]:
    for name in names or ("m",):
        watcher.look(name)
    return watcher.seen.violations


def ended(
    number: int, version: int | None = 1, *, kind: str = PUBLISH, variant: str = "one", code: int = 0, name: str = "m"
) -> Ended:
    """A command that ran from ``number`` to ``number`` + 0.5."""
    return Ended(Job(number, kind, name, variant), number, number + 0.5, code, version, "")


def there(**contents: str) -> There:
    """By ``m1``, ``m2``…: all noted."""
    named = {f"{one[:-1]}/{one[-1]}": variant for one, variant in contents.items()}
    return There(named, frozenset(named), frozenset())


# ── looks ─────────────────────────────────────────────────────────────────────────────────────────────────


def test_a_whole_repository_is_not_complained_of(
    watcher: Watcher, bundles: dict[str, Bundle], repository: Path
) -> None:
    assert told(watcher) == []
    publish(bundles["one"], repository)
    assert told(watcher) == []
    assert watcher.seen.contents == {"m/2": "two", "m/3": "one"}
    assert [change.version for change in watcher.seen.changes] == [3]
    assert watcher.seen.looks == 2


@pytest.mark.parametrize("missing", ["model.onnx", "manifest.json", "parts"])
def test_half_a_version_is_told(missing: str, watcher: Watcher, repository: Path) -> None:
    path = repository / "m" / "2" / missing
    shutil.rmtree(path) if path.is_dir() else path.unlink()
    assert len(told(watcher)) == 1


def test_a_version_that_is_cut_short_is_told(watcher: Watcher, repository: Path) -> None:
    (repository / "m" / "2" / "golden.npz").write_bytes(b"gold")
    assert "golden.npz has 4 bytes" in told(watcher)[0]


def test_a_version_that_is_not_there_is_told(watcher: Watcher, repository: Path) -> None:
    shutil.rmtree(repository / "m" / "2")
    assert "version 2 serves" in told(watcher)[0]


def test_a_version_that_was_not_proved_is_told(watcher: Watcher, make_bundle, repository: Path) -> None:
    publish(make_bundle(b"nobody's"), repository)
    assert "model.onnx is of no model that was ever proved" in told(watcher)[0]


def test_a_number_that_is_given_to_another_content_is_told(watcher: Watcher, known: Known, repository: Path) -> None:
    assert told(watcher) == []
    watcher.seen.contents["m/2"] = "one"
    assert "this number was one's, and is two's now" in told(watcher)[0]


def test_another_version_s_configuration_is_told(watcher: Watcher, repository: Path) -> None:
    with (repository / "m" / "config.pbtxt").open("a") as config:
        config.write('parameters { key: "a" value: { string_value: "b" } }\n')
    assert "by another version's configuration" in told(watcher)[0]


@pytest.mark.parametrize("text", ['name: "m"\n', 'name: "m" version_policy { latest { num_versions: 1 } }', "name: {"])
def test_a_configuration_that_names_no_version_is_told(text: str, watcher: Watcher, repository: Path) -> None:
    (repository / "m" / "config.pbtxt").write_text(text)
    assert "config.pbtxt" in told(watcher)[0]


def test_a_version_without_its_signature_is_told(make_bundle, known: Known, repository: Path) -> None:
    publish(make_bundle(b"one", name=SIGNED), repository)
    assert "without the signature" in told(Watcher(LocalRepository(root=repository), known), SIGNED)[0]


def test_what_a_dead_publisher_leaves_is_told(watcher: Watcher, repository: Path) -> None:
    assert calm._left_in_folder(watcher.repository, "m") == []
    place = layout.locate(repository, "m")
    place.staging.mkdir(parents=True)
    (place.model / "7.tmp").mkdir()
    (place.ledger.parent / ".m.json.tmp-1").touch()
    assert len(calm._left_in_folder(watcher.repository, "m")) == 3


def test_what_is_there_is_read_whole(watcher: Watcher, known: Known, repository: Path) -> None:
    found = checker.inventory(watcher.repository, known, lambda *_: [])
    assert found.contents == {"m/1": "one", "m/2": "two"}
    assert found.noted == {"m/1", "m/2"}
    (repository / "m" / "1" / "model.onnx").write_bytes(b"two")
    assert checker.inventory(watcher.repository, known, lambda *_: []).contents["m/1"] == checker.MISSED


# ── what commands said ────────────────────────────────────────────────────────────────────────────────────


def test_claims_that_hold_are_not_complained_of() -> None:
    jobs = [
        ended(1, 1),
        ended(2, 2, variant="two"),
        ended(3, 1, kind=ROLLBACK),
        ended(4, None, code=7),
        ended(5, 2, variant="two"),
    ]
    changes = [Change("m", 2, 2.1, 2.2), Change("m", 1, 3.1, 3.2), Change("m", 2, 5.1, 5.2)]
    assert checker.judge(jobs, changes, there(m1="one", m2="two")) == []


@pytest.mark.parametrize("contents", [{}, {"m2": "one"}, {"m1": "two"}, {"m1": checker.MISSED}])
def test_a_lost_claim_is_told(contents: dict[str, str]) -> None:
    assert "a claim was lost" in checker.judge([ended(1)], [], there(**contents))[0]


def test_a_claim_that_our_notes_do_not_know_is_told() -> None:
    found = checker.judge([ended(1)], [], There({"m/1": "one"}, frozenset(), frozenset()))
    assert "our notes don't know it" in found[0]


def test_a_claim_without_its_signature_is_told() -> None:
    here = There({f"{SIGNED}/1": "one"}, frozenset({f"{SIGNED}/1"}), frozenset())
    assert "it isn't signed by the key" in checker.judge([ended(1, name=SIGNED)], [], here)[0]


def test_a_wrong_version_that_is_published_is_told() -> None:
    found = checker.judge([ended(1, kind=WRONG, variant=DAMAGED)], [], there(m1="one"))
    assert "a wrong version was published" in found[0]


def test_an_older_version_that_serves_without_a_rollback_is_told() -> None:
    jobs = [ended(1), ended(2, 2, variant="two"), ended(3, None, code=7)]
    found = checker.judge(jobs, [Change("m", 1, 3.1, 3.2)], there(m1="one", m2="two"))
    assert "version 1 served after this, without a rollback" in found[0]


def test_a_change_while_no_command_runs_is_told() -> None:
    found = checker.judge([ended(1), ended(2, 2)], [Change("m", 2, 1.7, 1.8)], there(m1="one", m2="one"))
    assert "no command was running" in found[0]


@pytest.mark.parametrize("code", [1, 70, -signal.SIGSEGV, -signal.SIGKILL])
def test_an_end_that_is_not_documented_is_told(code: int) -> None:
    """A SIGKILL that nobody of the storm sent among them: it was sent to what hung."""
    assert "not an end that is documented" in checker.judge([ended(1, None, code=code)], [], there())[0]


# ── what clients were answered ────────────────────────────────────────────────────────────────────────────


def test_a_wrong_answer_is_told(known: Known) -> None:
    assert known.variant_that_answers(ANSWERS["two"][1:3], 1) == "two"
    assert known.variant_that_answers(ANSWERS["two"][1:3] + 0.01, 1) == ""
    assert known.variant_that_answers(ANSWERS["two"][1:3], 0) == "", "another row's"
    assert known.variant_that_answers(np.full((2, 2), np.nan, np.float32), 1) == ""
    contents = {"m/1": "one", "m/2": "two"}
    assert checker.answered({"m/1": {"one": 9}, "m/2": {"two": 9}, "m/3": {"one": 1}}, contents) == []
    assert len(checker.answered({"m/1": {"one": 9, "": 2}}, contents)) == 1
    assert len(checker.answered({"m/1": {"one": 9, "two": 2}}, contents)) == 1, "another version's"
    assert len(checker.answered({"m/3": {"": 2}}, contents)) == 1
