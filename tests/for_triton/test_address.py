"""--triton: what each spelling means, and what is refused."""

from pathlib import Path

import pytest

from millwork.errors import UsageError
from millwork.triton.address import Folder, Managed, NoServer, Remote, parse


@pytest.mark.parametrize(
    ("text", "meant"),
    [
        ("managed", Managed()),
        ("none", NoServer()),
        ("grpc://localhost:8001", Remote(host="localhost", port=8001)),
        ("grpc://triton.models.svc:9000/", Remote(host="triton.models.svc", port=9000)),
        ("grpc://[::1]:8001", Remote(host="::1", port=8001)),
        ("grpcs://triton.models.svc:443", Remote(host="triton.models.svc", port=443, scheme="grpcs")),
    ],
)
def test_each_spelling(text: str, meant: object) -> None:
    assert parse(text) == meant


def test_a_path_is_an_installation(tmp_path: Path) -> None:
    assert parse(str(tmp_path)) == Folder(path=str(tmp_path))


@pytest.mark.parametrize("url", ["grpc://localhost:8001", "grpc://[::1]:8001", "grpcs://[::1]:8001"])
def test_a_remote_gives_its_url_back(url: str) -> None:
    remote = parse(url)
    assert isinstance(remote, Remote)
    assert remote.url == url


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "this isn't the address of a Triton"),
        ("manged", "this isn't the address of a Triton"),
        ("localhost:8001", "this isn't the address of a Triton"),
        ("http://localhost:8000", "http:// is not supported"),
        ("unix://run/triton.sock", "expected an absolute path"),
        ("unix:///not/there.sock", "there is no such socket"),
        ("grpc://localhost", "expected a host and a port"),
        ("grpc://:8001", "expected a host and a port"),
        ("grpc://localhost:port", "Port could not be cast"),
        ("grpc://localhost:99999", "out of range"),
        ("grpc://[::1:8001", "Invalid IPv6"),
        ("grpc://localhost:8001/v2", "expected only a host and a port"),
        ("/nowhere/tritonserver", "there is no such file or folder"),
    ],
)
def test_anything_else_is_refused_with_what_was_expected(text: str, why: str) -> None:
    with pytest.raises(UsageError, match=why) as caught:
        parse(text)
    assert caught.value.hint
