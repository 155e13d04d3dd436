"""One standard for what may serve: a publication and a rollback refuse what ``verify`` refuses, in a folder and in a
store; and an operator's configurations are never lost."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from millwork.artifacts import manifest as manifests
from millwork.artifacts.manifest import SIGNATURE_FILE
from millwork.artifacts.repository import LocalRepository, Repository, layout, standard
from millwork.artifacts.repository import ledger as ledgers
from millwork.errors import ParityError, PublicationError
from millwork.triton import config as triton_config

Edit = Callable[[str, str | None], None]
OUTSIDE = 'default_model_filename: "../../other/1/model.onnx"\n'


def sign(folder: Path) -> None:
    (folder / SIGNATURE_FILE).write_text('{"verificationMaterial": {"publicKey": {"hint": "f00d"}}}')


def own(repository: Repository, version: int, scratch: Path) -> str:
    return (repository.files("m", version, scratch / f"own-{version}") / "config.pbtxt").read_text()


def verified(repository: Repository, version: int, scratch: Path) -> list[str]:
    folder = repository.files("m", version, scratch / f"verified-{version}")
    return standard.problems(folder, "m", version, repository.noted("m", version))


def edited(text: str) -> str:
    return text.replace("count: 1", "count: 64")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda edit, text: edit("m/1/config.pbtxt", edited(text)), "1/config.pbtxt was changed"),
        (lambda edit, text: edit("m/1/config.pbtxt", text + OUTSIDE), "outside the version's folder"),
        (lambda edit, _: edit("m/1/config.pbtxt", None), "config.pbtxt is missing"),
        (lambda edit, _: edit("m/1/manifest.json", None), "manifest.json"),
        (lambda edit, _: edit("m/1/model.sig", None), "model.sig is missing: the version was signed"),
        (lambda edit, _: edit("m/1/model.sig", "{}"), "model.sig was made with another key"),
        (lambda edit, _: edit("m/1/model.py", "import os"), "model.py was added"),
        (lambda edit, _: edit("m/1/parts/extra.bin", "other"), "parts/extra.bin"),
    ],
)
def test_a_version_that_is_not_as_it_was_published_never_serves_again(
    anywhere: Repository, make_bundle, edit: Edit, tmp_path: Path, harm: Callable[..., None], told: str
) -> None:
    anywhere.publish(make_bundle(b"1"), sign=sign)
    assert anywhere.publish(make_bundle(b"2"), sign=sign).version == 2
    assert verified(anywhere, 1, tmp_path) == []
    harm(edit, own(anywhere, 1, tmp_path))
    assert told in "; ".join(verified(anywhere, 1, tmp_path / "again"))
    for to in (None, 1):
        with pytest.raises(
            PublicationError, match=r"version 1 can't serve again: .*; version 2 still serves"
        ) as caught:
            anywhere.rollback("m", to)
        assert told in caught.value.message
    assert anywhere.serves("m") == 2


def test_a_version_overwritten_by_another_consistent_one_never_serves_again(
    anywhere: Repository, make_bundle, edit: Edit, tmp_path: Path
) -> None:
    for content in (b"1", b"2"):
        anywhere.publish(make_bundle(content))
    other = anywhere.files("m", 2, tmp_path / "two")
    for entry in (*manifests.read(other).files, "manifest.json"):
        path = entry if isinstance(entry, str) else entry.path
        edit(f"m/1/{path}", (other / path).read_text())
    with pytest.raises(PublicationError, match=r"can't serve again: manifest\.json was changed: it isn't the one"):
        anywhere.rollback("m")


def test_the_same_edit_in_both_configurations_is_told_and_the_content_is_published_anew(
    anywhere: Repository, make_bundle, edit: Edit, tmp_path: Path
) -> None:
    bundle = make_bundle(b"1")
    anywhere.publish(bundle)
    text = edited(own(anywhere, 1, tmp_path))
    edit("m/1/config.pbtxt", text)
    edit("m/config.pbtxt", text)
    assert "1/config.pbtxt was changed: it isn't the one that was published" in verified(anywhere, 1, tmp_path / "b")
    assert anywhere.publish(bundle).version == 2
    assert "count: 64" not in anywhere.config("m")


def test_a_bundle_whose_configuration_names_a_file_outside_is_not_published(anywhere: Repository, make_bundle) -> None:
    bundle = make_bundle(b"1")
    astray = msgspec.structs.replace(bundle, config=bundle.config + OUTSIDE)
    with pytest.raises(PublicationError, match=r"names '\.\./\.\./other/1/model\.onnx', which is outside"):
        anywhere.publish(astray)
    assert anywhere.versions("m") == []


def test_what_was_published_before_our_notes_had_digests_is_gone_back_to(make_bundle, repository: Path) -> None:
    there = LocalRepository(root=repository)
    for content in (b"1", b"2"):
        there.publish(make_bundle(content))
    place = layout.locate(repository, "m")
    old = msgspec.json.decode(place.ledger.read_bytes())
    for field in ("configs", "signers", "others"):
        del old[field]
    place.ledger.write_bytes(msgspec.json.encode(old))
    assert there.rollback("m").version == 1


def test_what_a_servers_python_left_is_removed_before_a_version_serves_again(make_bundle, repository: Path) -> None:
    there = LocalRepository(root=repository)
    for content in (b"1", b"2"):
        there.publish(make_bundle(content))
    left = repository / "m" / "1" / "__pycache__"
    left.mkdir()
    (left / "model.cpython-310.pyc").write_bytes(b"anything")
    assert there.rollback("m").version == 1
    assert not left.exists()


# ── an operator's configurations ──────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("policy", ["", "version_policy { specific { versions: [ 77 ] } }\n"])
def test_a_configuration_that_served_nothing_is_kept_and_said(
    anywhere: Repository, make_bundle, edit: Edit, policy: str
) -> None:
    text = f'# three days of work\nname: "m"\nbackend: "onnxruntime"\n{policy}'
    edit("m/config.pbtxt", text)
    published = anywhere.publish(make_bundle())
    assert "config.pbtxt served no version: it is replaced, and kept" in published.notes[0]
    assert text in kept_texts(anywhere)


def test_an_edited_configuration_comes_back_after_each_way_it_was_left(
    anywhere: Repository, make_bundle, edit: Edit
) -> None:
    for content in (b"1", b"2"):
        anywhere.publish(make_bundle(content))
    by_hand = anywhere.config("m").replace("count: 1", "count: 5")
    edit("m/config.pbtxt", by_hand)
    assert anywhere.rollback("m").version == 1, "the edited one of version 2 is left by a rollback"
    back = anywhere.rollback("m", 2)
    assert "count: 5" in anywhere.config("m")
    assert any("edited after it was published" in note for note in back.notes)
    edit("m/config.pbtxt", by_hand.replace("count: 5", "count: 6"))
    anywhere.publish(make_bundle(b"3"))
    anywhere.rollback("m")
    assert "count: 6" in anywhere.config("m"), "the one that was left last"
    edit("m/config.pbtxt", anywhere.config("m").replace("count: 6", "count: 1"))
    anywhere.rollback("m", 1)
    assert anywhere.rollback("m", 2).notes == (), "its own again"


def test_an_edited_configuration_that_names_a_file_outside_does_not_come_back(
    anywhere: Repository, make_bundle, edit: Edit
) -> None:
    anywhere.publish(make_bundle(b"1"))
    edit("m/config.pbtxt", anywhere.config("m") + OUTSIDE)
    anywhere.publish(make_bundle(b"2"))
    back = anywhere.rollback("m")
    assert "own config.pbtxt" in back.notes[0]
    assert "other" not in anywhere.config("m")


def test_where_the_serving_configuration_was_deleted_the_versions_own_is_gone_back_to(
    anywhere: Repository, make_bundle, edit: Edit
) -> None:
    for content in (b"1", b"2"):
        anywhere.publish(make_bundle(content))
    config = triton_config.fingerprint(anywhere.config("m"))
    edit("m/config.pbtxt", None)
    assert anywhere.publish(make_bundle(b"3")).version == 3
    assert anywhere.rollback("m").version == 2
    assert triton_config.fingerprint(anywhere.config("m")) == config
    assert anywhere.serves("m") == 2


def test_where_the_serving_configuration_was_deleted_a_rollback_goes_one_version_back(
    anywhere: Repository, make_bundle, edit: Edit
) -> None:
    for content in (b"1", b"2"):
        anywhere.publish(make_bundle(content))
    edit("m/config.pbtxt", None)
    assert anywhere.rollback("m").version == 1
    assert anywhere.serves("m") == 1


def test_a_deleted_configuration_stays_deleted_where_the_publication_fails(make_bundle, repository: Path) -> None:
    there = LocalRepository(root=repository)
    there.publish(make_bundle(b"1"))
    (repository / "m" / "config.pbtxt").unlink()

    def refuse(_: int) -> None:
        raise ParityError("wrong")

    with pytest.raises(PublicationError, match="wrong"):
        there.publish(make_bundle(b"2"), verify=refuse)
    assert sorted(path.name for path in (repository / "m").iterdir()) == ["1"]


def test_an_edit_while_a_version_is_verified_is_kept_though_that_fails(
    anywhere: Repository, make_bundle, edit: Edit
) -> None:
    anywhere.publish(make_bundle(b"1"))
    by_hand: list[str] = []

    def verify(_: int) -> None:
        by_hand.append(triton_config.unstamped(anywhere.config("m").replace("count: 1", "count: 3")))
        edit("m/config.pbtxt", by_hand[0])
        raise ParityError("wrong")

    with pytest.raises(PublicationError, match="wrong; version 1 still serves"):
        anywhere.publish(make_bundle(b"2"), verify=verify)
    assert kept_texts(anywhere) == by_hand
    with pytest.raises(PublicationError, match="wrong"):
        anywhere.publish(make_bundle(b"3"), verify=lambda _: (_ for _ in ()).throw(ParityError("wrong")))
    assert kept_texts(anywhere) == by_hand, "what nobody edited isn't kept"


def test_an_edit_while_a_version_is_staged_is_not_overwritten(make_bundle, repository: Path) -> None:
    from millwork.artifacts.repository import publish

    publish(make_bundle(b"1"), repository)
    config = repository / "m" / "config.pbtxt"
    by_hand = config.read_text().replace("count: 1", "count: 3")

    def edit(step: str) -> None:
        if step == "sync the staged files":
            config.write_text(by_hand)

    with pytest.raises(PublicationError, match=r"config\.pbtxt was changed while version 2 was published"):
        publish(make_bundle(b"2"), repository, step=edit)
    assert config.read_text() == by_hand


def kept_texts(repository: Repository) -> list[str]:
    """The configurations that served no version, as our notes keep them."""
    if isinstance(repository, LocalRepository):
        place = layout.locate(repository.root, "m")
        return [text.decode() for text in ledgers.read(place).others]
    found = [key for key in repository.store.sizes(f"{repository.address.state}/m") if "/other-" in key]
    return [repository.store.read(key).content.decode() for key in found]
