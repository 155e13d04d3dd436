"""An object store's address and endpoint: what can't be one is told before anything is asked of anybody."""

from __future__ import annotations

import pytest

from millwork.artifacts.repository.object_store.address import parse
from millwork.artifacts.repository.object_store.store import Patience, Store, StoreError
from millwork.errors import UsageError

QUICK = Patience(tries=2, first_wait_s=0.0, longest_wait_s=0.0, answer_s=1.0)


@pytest.mark.parametrize(
    "given",
    ["127.0.0.1:9000", "localhost:9000", "minio", "http://", "http://a b", "", "ftp://host", "http://h:x", "//h"],
)
@pytest.mark.parametrize("name", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
def test_an_endpoint_that_is_no_address_is_named(monkeypatch: pytest.MonkeyPatch, name: str, given: str) -> None:
    monkeypatch.setenv(name, given)
    with pytest.raises(UsageError, match=f"^{name}=.*isn't the address of a server"):
        parse("s3://shop/models")


@pytest.mark.parametrize("given", ["http://127.0.0.1:9000", "https://minio.example.org", "http://[::1]:9000/"])
def test_an_endpoint(monkeypatch: pytest.MonkeyPatch, given: str) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", given)
    assert parse("s3://shop/models").endpoint == given


@pytest.mark.parametrize(
    "folder",
    ["a\\b", "a//b", "./a", "a/..", "a\nb", "a%2fb", " a", "a ", "a/ /b", "a*", "a?b"[:1] + "\x7f", "a~b", "{a}"],
)
def test_a_folder_that_a_store_writes_in_another_way_is_refused(folder: str) -> None:
    with pytest.raises(UsageError):
        parse(f"s3://shop/{folder}/models")


@pytest.mark.parametrize("folder", ["models", "a.b-c_d=1", "team's (old)", "größe/模型", "a b"])
def test_a_folder(folder: str) -> None:
    assert parse(f"s3://shop/{folder}").prefix == folder


class PanicException(BaseException):
    """As a library in Rust raises it: no Exception."""


def test_a_panic_of_the_library_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    store = Store(parse("s3://shop/models"), QUICK)

    def panics(*_: object, **__: object) -> None:
        raise PanicException("called `Option::unwrap()` on a `None` value")

    for method in ("get", "put", "list", "delete"):
        monkeypatch.setattr(store, "_backend", type("Backend", (), {method: staticmethod(panics)})())
        with pytest.raises(StoreError, match="called `Option::unwrap"):
            {
                "get": lambda: store.read("x"),
                "put": lambda: store.create("x", b""),
                "list": lambda: store.sizes("x"),
                "delete": lambda: store.delete(["x"]),
            }[method]()


def test_a_signal_is_not_taken_for_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    store = Store(parse("s3://shop/models"), QUICK)

    def stopped(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(store, "_backend", type("Backend", (), {"get": staticmethod(stopped)})())
    with pytest.raises(KeyboardInterrupt):
        store.read("x")
