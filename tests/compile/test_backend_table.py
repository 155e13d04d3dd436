"""Third parties' backends: found by an entry point, and a clash of names is an error."""

from __future__ import annotations

import pytest

from millwork.compile.backends import table as backends
from millwork.errors import UsageError
from millwork.pipeline import cache_key

ELSEWHERE = ("hummingbird",)

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

TENSORS_ON_GPU = ("onnx-cuda", "onnx-tensorrt", "tensorrt")


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
    ours = ("reference", "onnx", "fil", "native", "tensor", *ELSEWHERE, "fil-cuda", "native-cuda", *TENSORS_ON_GPU)
    assert backends.names() == (*ours, "theirs")
    assert backends.find("theirs").rank == 5


def test_a_clash_of_names_is_an_error(installed):
    installed("onnx")
    with pytest.raises(UsageError, match="two backends are called 'onnx': one is from their_backend:backend"):
        backends.names()


def test_an_unknown_backend_is_named_with_the_known_ones():
    with pytest.raises(UsageError, match="unknown backend 'coreml'") as caught:
        backends.find("coreml")
    assert "reference, onnx, fil" in caught.value.hint


@pytest.mark.parametrize("name", backends.TABLE)
def test_every_thunk_gives_the_backend_of_its_name(name):
    assert backends.find(name).name == name


@pytest.mark.parametrize("name", sorted({*backends.TABLE, *backends.NETS}))
def test_another_version_of_its_engine_is_measured_anew(name):
    """What the key of its verdict and its times knows, beside numpy and who else could provide it."""
    assert set(cache_key.engine(name)) > {"python", "numpy", "provider"}


def ids(*wanted: str, precisions: tuple[str, ...] = (), net: bool = False, gpu: bool = False) -> list[str]:
    return [one.id for one in backends.forms(wanted, precisions, net=net, gpu=gpu)]


def test_what_is_built_where_nobody_says():
    assert ids() == ["reference-fp32", "onnx-fp32", "fil-fp32", "native-fp32", "tensor-fp32"]
    assert ids(gpu=True) == [*ids(), "fil-cuda-fp32", "native-cuda-fp32", *(f"{name}-fp32" for name in TENSORS_ON_GPU)]
    assert ids(net=True) == ["reference-fp32", "onnx-fp32", "onnx-fp16", "onnx-int8"]
    assert ids(net=True, gpu=True)[-8:] == [
        "onnx-cuda-fp32",
        "onnx-cuda-fp16",
        "onnx-tensorrt-fp32",
        "onnx-tensorrt-fp16",
        "onnx-tensorrt-int8",
        "tensorrt-fp32",
        "tensorrt-fp16",
        "tensorrt-int8",
    ]


def test_what_is_named_is_tried_even_if_only_to_say_why_not():
    assert ids(precisions=("fp16",)) == ["tensor-fp16"]
    assert ids("fil", precisions=("fp16",)) == ["fil-fp16"]
    assert ids("tensorrt", net=True) == ["tensorrt-fp32", "tensorrt-fp16", "tensorrt-int8"]
    assert ids("native", net=True) == ["native-fp32"]
    assert ids("hummingbird") == ["hummingbird-fp32"]
    assert ids("tensor", precisions=("fp32", "int32", "int8")) == ["tensor-fp32", "tensor-int32", "tensor-int8"]


@pytest.mark.parametrize("name", backends.NETS)
def test_every_thunk_of_nets_gives_the_backend_of_its_name(name):
    for precision in backends.NET_PRECISIONS[name]:
        found = backends.find_net(name, precision)
        assert (found.name, found.precision) == (name, precision)
    assert backends.find_net(name, "int32") is None


@pytest.mark.parametrize(
    ("wanted", "precisions", "net", "phrases"),
    [
        (("fil",), (), True, ("--backends fil: not for a net", "reference, onnx, onnx-cuda, onnx-tensorrt, tensorrt")),
        (("fil", "native"), ("fp32",), True, ("--backends fil,native: not for a net", "onnx")),
        ((), ("int32",), True, ("--precision int32: a net, which this model is, has none of it", "fp32, fp16, int8")),
        (("onnx-cuda",), ("int8",), True, ("has none of it by onnx-cuda", "It has fp32, fp16.")),
        ((), ("int8",), False, ("--precision int8: a forest", "It has fp32, fp16, int32.")),
        (("native",), ("fp16",), False, ("has none of it by native", "It has fp32.")),
    ],
)
def test_what_no_candidate_could_have_is_a_usage_error(wanted, precisions, net, phrases):
    with pytest.raises(UsageError) as caught:
        backends.demand_forms(wanted, precisions, net=net)
    assert phrases[0] in caught.value.message
    assert phrases[1] in caught.value.hint or phrases[1] in caught.value.message


def test_where_one_of_several_fits_the_run_goes_on():
    backends.demand_forms(("fil", "onnx"), ("int32", "fp16"), net=True)
    backends.demand_forms(("native", "tensor"), ("fp16",), net=False)
    backends.demand_forms((), (), net=False)
