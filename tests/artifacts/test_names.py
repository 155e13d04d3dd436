"""Names of models and addresses of repositories that can't be right are usage errors."""

from __future__ import annotations

from pathlib import Path

import pytest

from millwork.artifacts.repository import check_name, local_path, publish, rollback
from millwork.errors import UsageError


@pytest.mark.parametrize("name", ["m", "Flight-delays_2.0", "0", "a" * 128, "a..b"])
def test_names_that_can_be(name: str) -> None:
    assert check_name(name) == name


@pytest.mark.parametrize("name", ["", ".", "..", ".m", "-m", "a/b", "/m", "a b", "ä", "m\n", "a\\b", "a" * 129, "m\0"])
def test_names_that_cannot_be(name: str) -> None:
    with pytest.raises(UsageError, match="can't be a model's name"):
        check_name(name)


def test_a_wrong_name_makes_nothing(make_bundle, repository: Path) -> None:
    with pytest.raises(UsageError):
        publish(make_bundle(name="../m"), repository)
    with pytest.raises(UsageError):
        rollback(repository, "../m")
    assert not repository.parent.exists()


@pytest.mark.parametrize(
    ("url", "path"),
    [
        ("models", "models"),
        ("./a:b", "a:b"),
        ("/srv/models", "/srv/models"),
        ("file:///srv/my%20models", "/srv/my models"),
        ("file://localhost/srv", "/srv"),
    ],
)
def test_local_repositories(url: str, path: str) -> None:
    assert local_path(url) == Path(path)


@pytest.mark.parametrize("url", ["s3://bucket/models", "gs://bucket", "az://a/b", "https://host/models", "S3://b"])
def test_object_stores_are_no_folders(url: str) -> None:
    with pytest.raises(UsageError, match="this kind of repository isn't supported"):
        local_path(url)


@pytest.mark.parametrize("url", ["", "file://", "file://host/srv", "file:///srv?x=1"])
def test_what_is_no_address(url: str) -> None:
    with pytest.raises(UsageError):
        local_path(url)
