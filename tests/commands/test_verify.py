"""``verify`` names the file that isn't as it was made; what isn't is never published; signatures."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from models.jobs import Desk, millwork, refused

from millwork.artifacts import manifest as manifests
from millwork.storage.run_directory import RunDirectory
from millwork.values import Value


def flip(path: Path, bit: int = 0) -> None:
    """One bit of the byte in the middle. Bit 7 leaves no UTF-8."""
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1 << bit
    path.write_bytes(content)


def verify(desk: Desk, *words: str | Path):
    return millwork("verify", "--repository", desk.repository, "--name", "clicks", *words)


@pytest.fixture
def version(desk: Desk) -> Path:
    return desk.repository / "clicks" / "1"


@pytest.fixture(scope="module")
def keys(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, Path]:
    """A private key, its public one, and another's public one."""
    from cryptography.hazmat.primitives import serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    folder = tmp_path_factory.mktemp("keys")
    for name in ("mine", "other"):
        key = ec.generate_private_key(ec.SECP256R1())
        (folder / f"{name}.pem").write_bytes(
            key.private_bytes(
                serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
            )
        )
        (folder / f"{name}.pub").write_bytes(
            key.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
        )
    return folder / "mine.pem", folder / "mine.pub", folder / "other.pub"


# ── what is published ─────────────────────────────────────────────────────────────────────────────────────


def test_as_it_was_made(desk: Desk) -> None:
    said = verify(desk, "--json")
    assert said.code == 0, said.err
    assert said.document()["problems"] == []
    assert said.document()["manifest_sha256"] == manifests.sha256(desk.repository / "clicks" / "1")


@pytest.mark.parametrize(
    ("harm", "told"),
    [
        (lambda version: flip(version / "model.onnx"), "model.onnx was changed"),
        (lambda version: (version / "golden.npz").unlink(), "golden.npz is missing"),
        (lambda version: (version / "model.py").write_text("import os"), "model.py was added"),
        (lambda version: (version / "manifest.json").unlink(), "manifest.json"),
        *((lambda version, bit=bit: flip(version / "manifest.json", bit), "manifest.json") for bit in range(8)),
        (lambda version: (version / "manifest.json").write_text("[]"), "not a manifest"),
        (lambda version: (version / "config.pbtxt").unlink(), "config.pbtxt is missing"),
        (
            lambda version: (version.parent / "config.pbtxt").write_text(
                (version.parent / "config.pbtxt").read_text().replace("count: 1", "count: 7")
            ),
            "config.pbtxt, by which it serves, was changed",
        ),
    ],
)
def test_the_file_that_isnt_is_named(desk: Desk, version: Path, harm, told: str) -> None:
    harm(version)
    refused(verify(desk), 3, told)


def test_a_linked_folder_is_named(desk: Desk, version: Path, tmp_path: Path) -> None:
    """A package beside millwork_runner.py, which would be imported before it."""
    (version / "millwork_runner").symlink_to(tmp_path, target_is_directory=True)
    refused(verify(desk), 3, "millwork_runner was added")
    (version / "millwork_runner").unlink()
    assert verify(desk).code == 0


def test_a_manifest_that_reaches_out_is_named(desk: Desk, version: Path) -> None:
    path = version / "manifest.json"
    path.write_text(path.read_text().replace('"golden.npz",\n      "sha', '"../../../outside",\n      "sha'))
    refused(verify(desk), 3, "is outside the version's folder")


# ── what a run made ───────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("bit", [0, 7])
def test_a_flipped_bit_in_what_a_run_chose_is_named_and_never_published(desk: Desk, bit: int) -> None:
    before = sorted(path.name for path in (desk.repository / "clicks").iterdir())
    stage = _chosen(desk)[0]
    whole = millwork("verify", desk.run_dir)
    assert whole.code == 0, whole.err
    for name in ("version/model.onnx", "version/manifest.json", "version/golden.npz", "result.json", "done"):
        content = (stage / name).read_bytes()
        flip(stage / name, bit)
        refused(millwork("verify", desk.run_dir), 3, stage.name, name if name != "done" else "")
        said = millwork("publish", desk.run_dir, "--repository", desk.repository, "--triton", "none")
        refused(said, 2 if (name, bit) == ("result.json", 7) else 3)
        (stage / name).write_bytes(content)
    flip(desk.run_dir / "chosen.json", 7)
    refused(millwork("publish", desk.run_dir, "--repository", desk.repository, "--triton", "none"), 2, "no run in it")
    flip(desk.run_dir / "chosen.json", 7)
    assert sorted(path.name for path in (desk.repository / "clicks").iterdir()) == before
    said = millwork("publish", desk.run_dir, "--repository", desk.repository, "--triton", "none")
    assert said.code == 0, said.err


def test_what_was_added_to_a_run_is_named(desk: Desk) -> None:
    added = _chosen(desk)[0] / "version" / "extra.py"
    added.write_text("x")
    refused(millwork("verify", desk.run_dir), 3, "version/extra.py was added")
    added.unlink()
    assert millwork("verify", desk.run_dir).code == 0


def test_a_run_that_chose_nothing_is_not_published(desk: Desk, tmp_path: Path) -> None:
    (tmp_path / "chosen.json").write_text("[]")
    said = millwork("publish", tmp_path, "--repository", desk.repository, "--triton", "none")
    refused(said, 2, "chose no candidate that could be served")


def _chosen(desk: Desk) -> list[Path]:
    import json

    return [desk.run_dir / "stages" / name for name in json.loads((desk.run_dir / "chosen.json").read_text())]


@pytest.mark.parametrize(("names", "bit"), [(("model.onnx", "program.npz", "answers.npy"), 0), (("done",), 7)])
def test_a_flipped_bit_in_any_kept_stage_is_made_again(desk: Desk, names: tuple[str, ...], bit: int) -> None:
    for stage in (desk.run_dir / "stages").iterdir():
        for file in stage.rglob("*"):
            if file.is_file() and file.name in names:
                flip(file, bit)
    said = desk.optimize(desk.files.again)
    assert said.code == 0, said.err
    assert "is damaged" in said.err
    checked = verify(desk)
    assert checked.code == 0, checked.err


def test_a_changed_model_under_the_same_name_is_another_version(desk: Desk, tmp_path: Path) -> None:
    path = tmp_path / "clicks.pkl"
    shutil.copy(desk.files.again, path)
    said = desk.optimize(path)
    assert said.code == 0, said.err
    sources = [manifests.read(desk.repository / "clicks" / str(n)).source.sha256 for n in (1, 2)]
    assert sources[0] != sources[1]


class Made(Value):
    number: int


def test_a_stage_that_is_changed_while_the_run_goes_on_is_named(tmp_path: Path) -> None:
    from millwork.errors import ModelError

    def make(folder: Path) -> Made:
        (folder / "model.onnx").write_bytes(b"a model")
        return Made(number=1)

    with RunDirectory(tmp_path / "run") as run:
        stage = run.stage("build", {}, make, Made)
        run.require_unchanged()
        flip(stage.folder / "model.onnx")
        with pytest.raises(ModelError, match=r"build-.*model\.onnx has changed"):
            run.require_unchanged()


# ── signed ────────────────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def signed(desk: Desk, keys) -> Desk:
    said = millwork("publish", desk.run_dir, "--repository", desk.repository, "--triton", "none", "--sign", keys[0])
    assert said.code == 0, said.err
    return desk


def test_signatures(signed: Desk, keys, tmp_path: Path) -> None:
    _, public, other = keys
    name = next(
        path.name
        for path in signed.repository.iterdir()
        if (path / "1" / "model.sig").exists() or (path / "2" / "model.sig").exists()
    )
    version = max((path for path in (signed.repository / name).iterdir() if path.is_dir()), key=lambda p: int(p.name))

    def check(key: Path):
        return millwork("verify", "--repository", signed.repository, "--name", name, "--key", key)

    said = check(public)
    assert said.code == 0, said.err
    assert "signed by this key" in said.err
    refused(check(other), 3, "made with another key")
    for file, told in (
        ("model.onnx", "model.onnx"),
        ("manifest.json", "the files have changed since they were signed"),
        ("config.pbtxt", "config.pbtxt"),
        ("model.sig", "model.sig isn't a signature"),
    ):
        content = (version / file).read_bytes()
        flip(version / file)
        refused(check(public), 3, told)
        (version / file).write_bytes(content)
    (version / ".gitignore").write_text("*")
    refused(check(public), 3, ".gitignore")
    (version / ".gitignore").unlink()
    (version / "model.sig").unlink()
    refused(check(public), 3, "model.sig is missing: the version isn't signed")
    refused(check(tmp_path / "none.pub"), 2, "none.pub")


def test_a_signed_version_is_not_tuned_into_one_that_isnt(signed: Desk, keys) -> None:
    name = next(path.name for path in signed.repository.iterdir() if list(path.rglob("model.sig")))
    words = ("tune", name, "--repository", signed.repository, "--traffic", "batch=1 clients=1", "--tune-budget", "1")
    refused(millwork(*words), 2, "the version that serves is signed, and the tuned one wouldn't be")
    refused(millwork(*words, "--sign", keys[1]), 2, "not a private key")


def test_a_key_that_cannot_sign_is_said_before_anything(desk: Desk, keys, tmp_path: Path) -> None:
    (tmp_path / "bad.pem").write_text("no key")
    refused(desk.optimize(desk.files.clicks, "--sign", tmp_path / "bad.pem"), 2, "bad.pem: not a private key")
    refused(desk.optimize(desk.files.clicks, "--sign", keys[1]), 2, "not a private key")
