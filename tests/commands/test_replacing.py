"""What a command may replace: the version that it read, by the same contract, signed where that was."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
from models.jobs import Desk, millwork, refused

from millwork.artifacts.repository import served_version

QUIET = ("--triton", "none")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("keys") / "key.pem"
    subprocess.run(["openssl", "ecparam", "-name", "prime256v1", "-genkey", "-noout", "-out", path], check=True)
    return path


@pytest.fixture
def shop(desk: Desk) -> Desk:
    """Version 1 of ``clicks`` serves, and the run directory has another content for it."""
    said = desk.optimize(desk.files.again, "--name", "clicks", "--dry-run")
    assert said.code == 0, said.err
    return desk


def publish(desk: Desk, *words: str | Path):
    return millwork("publish", desk.run_dir, "--repository", desk.repository, *QUIET, *words)


def rollback(desk: Desk, *words: str):
    return millwork("rollback", "--repository", desk.repository, "--name", "clicks", *QUIET, *words)


def test_only_the_version_that_was_expected_is_replaced(shop: Desk) -> None:
    refused(publish(shop, "--expect-version", "0"), 7, "version 1 serves, none served when it was read")
    refused(publish(shop, "--expect-version", "-1"), 2, "--expect-version -1: expected a version's number")
    assert publish(shop, "--expect-version", "1").code == 0
    refused(rollback(shop, "--expect-version", "1"), 7, "version 2 serves, 1 was read")
    refused(shop.optimize(shop.files.clicks, "--expect-version", "1"), 7, "version 2 serves, 1 was read")
    assert served_version(shop.repository, "clicks") == 2
    assert rollback(shop, "--expect-version", "2").code == 0


def test_another_contract_is_refused_as_soon_as_the_model_is_read(shop: Desk, tmp_path: Path) -> None:
    words = ("--name", "clicks", "--run-dir", tmp_path / "other")
    refused(
        shop.optimize(shop.files.prices, *words),
        7,
        "clients of version 1, which serves, would meet another contract",
        "what output__0 holds: probability; now value",
        "--allow-contract-change",
    )
    stages = {path.name.partition("-")[0] for path in (tmp_path / "other" / "stages").iterdir()}
    assert "build" not in stages
    said = shop.optimize(shop.files.prices, *words, "--allow-contract-change")
    assert said.code == 0, said.err
    assert "what output__0 holds: probability; now value" in said.err
    refused(publish(shop), 7, "what output__0 holds: value; now probability")
    said = rollback(shop)
    assert said.code == 0, said.err
    assert "version 1 has another contract than version 2" in said.err


def test_a_signed_version_stays_where_the_new_one_is_not(shop: Desk, key: Path) -> None:
    assert publish(shop, "--sign", key).code == 0
    refused(shop.optimize(shop.files.clicks), 2, "version 2, which serves, is signed", "--allow-unsigned")
    assert rollback(shop).code == 0
    assert rollback(shop, "--version", "2").code == 0
    said = shop.optimize(shop.files.clicks, "--allow-unsigned")
    assert said.code == 0, said.err
    assert served_version(shop.repository, "clicks") == 3


def test_a_tampered_signed_version_is_not_gone_back_to(shop: Desk, key: Path) -> None:
    assert publish(shop, "--sign", key).code == 0
    said = shop.optimize(shop.files.clicks, "--sign", key)
    assert said.code == 0, said.err
    own = shop.repository / "clicks" / "2" / "config.pbtxt"
    own.write_text(own.read_text().replace("count: 1", "count: 7"))
    refused(rollback(shop), 7, "version 2 can't serve again: 2/config.pbtxt was changed", "version 3 still serves")
    said = millwork("verify", "--repository", shop.repository, "--name", "clicks", "--version", "2")
    refused(said, 3, "2/config.pbtxt was changed: it isn't the one that was published")
