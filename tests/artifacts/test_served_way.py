"""What is said of the way a version is served: who serves it, what a stock Triton lacks, what the other way gave."""

from __future__ import annotations

import pytest

from millwork.artifacts.report.served_by import block
from millwork.artifacts.served_way import served_way
from millwork.compile import kernel
from millwork.values import Interval, OtherWay


def other(times=3.1, *, low=2.9, high=3.3, limit="", over=0.0, objective="throughput", backend="millwork"):
    interval = Interval(low=low, high=high)
    return OtherWay(
        triton_backend=backend,
        candidate="native-fp32",
        times=times,
        interval=interval,
        objective=objective,
        limit=limit,
        over=over,
    )


def test_what_our_backend_would_give_is_said_with_the_two_lines_that_bring_it():
    said = served_way("python", "millwork", (), "24.10", "", other(limit="p99<5ms", over=0.8))
    assert said.sentence == "served by Triton's python backend; with our backend 3.1 times the rows at the same limit"
    assert said.dockerfile == (
        "FROM tritonserver:24.10-py3",
        "COPY libtriton_millwork.so /opt/tritonserver/backends/millwork/",
    )
    assert said.needs == ()
    assert block(said).dockerfile == said.dockerfile


@pytest.mark.parametrize(
    ("found", "words"),
    [
        (other(1.4, low=0.9, high=2.2), "with our backend 1.40 times the rows, within this measurement's noise"),
        (other(objective="latency"), "with our backend 3.1 times as fast"),
        (other(limit="p99<5ms", over=1.5), "with our backend 1.50 times the limit p99<5ms"),
        (None, "with our backend: not measured"),
    ],
)
def test_the_other_way_is_said_in_the_objectives_unit_and_with_its_noise(found, words):
    assert served_way("python", "millwork", (), "24.10", "", found).sentence.endswith(f"; {words}")


@pytest.mark.parametrize("found", [other(0.9, low=0.8, high=1.1), other(limit="p99<5ms", over=1.5), None])
def test_a_way_that_is_no_better_has_no_lines(found):
    said = served_way("python", "millwork", (), "24.10", "", found)
    assert said.dockerfile == ()
    assert block(said).lead == ""


def test_what_wins_elsewhere_is_named_by_its_candidate():
    assert "; native-fp32 with our backend 3.1 times the rows" in (
        served_way("python", "onnxruntime", (), "24.10", "", other()).sentence
    )


def test_packages_that_a_stock_tritons_python_lacks_are_said_and_brought():
    said = served_way("python", "onnxruntime", ("onnxruntime>=1.20", "numpy"), "25.06")
    assert said.needs == ("onnxruntime>=1.20",)
    assert "needs onnxruntime>=1.20: a stock Triton's has no such package" in said.sentence
    assert said.dockerfile == ("FROM tritonserver:25.06-py3", "RUN pip install 'onnxruntime>=1.20'")
    assert served_way("onnxruntime", "onnxruntime", ("onnxruntime>=1.20",), "25.06").needs == ()


def test_a_kernel_that_asks_for_more_than_a_stock_triton_has_is_said(tmp_path):
    library = tmp_path / "library.so"
    library.write_bytes(b"\x7fELF\0GLIBC_2.2.5\0GLIBC_2.38\0GLIBC_2.4\0")
    assert kernel.glibc(library) == (2, 38)
    said = served_way("python", "millwork", (), "24.10", glibc=kernel.glibc(library))
    assert said.needs == ("glibc 2.38",)
    assert "built here for glibc 2.38" in said.sentence
    assert served_way("python", "millwork", (), "24.10", glibc=(2, 35)).needs == ()


def test_how_the_server_is_known_to_have_our_backend_is_said():
    for known, words in (("asked", "the server has it"), ("recorded", "noted"), ("given", "--millwork-backend")):
        said = served_way("millwork", "millwork", (), "24.10", known)
        assert words in said.sentence
        assert said.needs == ("libtriton_millwork.so",)
        assert block(said).dockerfile == ()
        assert len(block(said, whole=True).dockerfile) == 2
