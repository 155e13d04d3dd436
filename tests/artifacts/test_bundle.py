"""A bundle is sealed: every file in its manifest, and one digest for all that a client would notice."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from millwork.artifacts import manifest as manifests
from millwork.artifacts.bundle import content_digest, seal
from millwork.errors import InternalError
from millwork.triton.config import with_version
from millwork.values import FeatureContract


def test_every_file_is_listed_and_intact(make_bundle) -> None:
    bundle = make_bundle()
    listed = [entry.path for entry in bundle.manifest.files]
    assert listed == ["golden.npz", "model.onnx", "parts/extra.bin"]
    assert manifests.read_intact(bundle.folder) == bundle.manifest
    assert manifests.sha256(bundle.folder) == bundle.manifest_sha256


def test_sealing_again_says_the_same(make_bundle) -> None:
    bundle = make_bundle()
    assert seal(bundle.folder, bundle.manifest, bundle.config) == bundle


def test_what_a_client_would_not_notice_keeps_the_digest(make_bundle) -> None:
    bundle = make_bundle()
    digest = content_digest(bundle.manifest, bundle.config)
    later = msgspec.structs.replace(bundle.manifest, created="2030-01-01", millwork="9.9")
    assert content_digest(later, "# another comment\n" + with_version(bundle.config, 7)) == digest


def test_what_was_timed_is_not_part_of_the_content(make_bundle) -> None:
    bundle = make_bundle()
    digest = content_digest(bundle.manifest, bundle.config)
    timed = msgspec.structs.replace(bundle.manifest, parameters={**bundle.manifest.parameters, "crossover": "8"})
    config = bundle.config + 'parameters { key: "crossover" value { string_value: "8" } }\n'
    assert content_digest(timed, config) == digest
    assert content_digest(bundle.manifest, config.replace("crossover", "plan")) != digest


@pytest.mark.parametrize(
    "changes",
    [
        {"features": FeatureContract(names=("b", "a"), named=True)},
        {"triton_release": "26.03"},
        {"parameters": {"threads": "2"}},
        {"runner": "treelite"},
        {"golden_abs": 1e-6},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_what_a_client_would_notice_changes_the_digest(make_bundle, changes: dict[str, object]) -> None:
    bundle = make_bundle()
    other = msgspec.structs.replace(bundle.manifest, **changes)
    assert content_digest(other, bundle.config) != content_digest(bundle.manifest, bundle.config)


def test_another_file_or_configuration_changes_the_digest(make_bundle) -> None:
    one, two = make_bundle(b"one"), make_bundle(b"two")
    digest = content_digest(one.manifest, one.config)
    assert content_digest(two.manifest, two.config) != digest
    assert content_digest(one.manifest, one.config.replace("4096", "64")) != digest


def test_a_link_is_refused(make_bundle) -> None:
    bundle = make_bundle()
    (bundle.folder / "link.onnx").symlink_to("model.onnx")
    with pytest.raises(InternalError, match=r"it holds symbolic links, which can't be published: link\.onnx"):
        seal(bundle.folder, bundle.manifest, bundle.config)


def test_a_model_file_that_is_not_there_is_refused(make_bundle) -> None:
    bundle = make_bundle()
    Path(bundle.folder / "model.onnx").unlink()
    with pytest.raises(InternalError, match=r"names model\.onnx"):
        seal(bundle.folder, bundle.manifest, bundle.config)


def test_another_models_configuration_is_refused(make_bundle) -> None:
    bundle, other = make_bundle(), make_bundle(name="other")
    with pytest.raises(InternalError, match=r"its config\.pbtxt doesn't name the model m"):
        seal(bundle.folder, bundle.manifest, other.config)
