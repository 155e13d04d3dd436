"""Third parties' backends: found by an entry point, and a clash of names is an error."""

from __future__ import annotations

import pytest

from millwork.compile import backends
from millwork.errors import UsageError

MODULE = """
class Theirs:
    name = "theirs"
    precision = "fp32"
    rank = 5
    extra = ""
    module = ""

def backend():
    return Theirs()
"""


@pytest.fixture
def installed(tmp_path, monkeypatch):
    """Install a distribution that declares one backend: a real one, as metadata on the path."""

    def install(name: str) -> None:
        folder = tmp_path / "theirs-1.0.dist-info"
        folder.mkdir()
        (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: theirs\nVersion: 1.0\n")
        (folder / "entry_points.txt").write_text(f"[millwork.backends]\n{name} = their_backend:backend\n")
        (tmp_path / "their_backend.py").write_text(MODULE)
        monkeypatch.syspath_prepend(tmp_path)

    return install


def test_a_third_partys_backend_is_found(installed):
    installed("theirs")
    assert backends.names() == ("reference", "onnx", "fil", "native", "tensor", "theirs")
    assert backends.find("theirs").rank == 5


def test_a_clash_of_names_is_an_error(installed):
    installed("onnx")
    with pytest.raises(UsageError, match="two backends are called 'onnx': one is from their_backend:backend"):
        backends.names()


def test_an_unknown_backend_is_named_with_the_known_ones():
    with pytest.raises(UsageError, match="unknown backend 'tensorrt'") as caught:
        backends.find("tensorrt")
    assert "reference, onnx, fil" in caught.value.hint


@pytest.mark.parametrize("name", backends.TABLE)
def test_every_thunk_gives_the_backend_of_its_name(name):
    assert backends.find(name).name == name
