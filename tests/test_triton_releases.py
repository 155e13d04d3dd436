"""The table of Triton releases: what a user asks of it by name, and what a server says of itself."""

import itertools

import pytest

from millwork import triton_releases as releases
from millwork.errors import UsageError


def test_the_managed_servers_release_reads_what_24_10_reads() -> None:
    release = releases.find("24.10")
    assert (release.version, release.treelite, release.fil_dialect) == ("2.51.0", "4.3.0", "output_class")
    assert (release.onnx.opset, release.onnx.ml_opset, release.onnx.ir) == (21, 5, 10)
    assert not release.onnx.tree_ensemble


def test_fil_changed_its_configuration_in_25_09() -> None:
    dialects = {name: release.fil_dialect for name, release in releases.TABLE.items()}
    assert {d for name, d in dialects.items() if name < "25.09"} == {"output_class"}
    assert {d for name, d in dialects.items() if name >= "25.09"} == {"is_classifier"}


def test_releases_are_months_without_a_gap_and_newest_is_the_last() -> None:
    names = list(releases.TABLE)
    years = [(int(name[:2]), int(name[3:])) for name in names]
    assert all(
        later == ((year, month + 1) if month < 12 else (year + 1, 1))
        for (year, month), later in itertools.pairwise(years)
    )
    assert releases.newest().name == names[-1] == max(names)


@pytest.mark.parametrize("release", releases.TABLE.values(), ids=lambda release: release.name)
def test_a_server_is_known_by_the_version_it_says(release: releases.Release) -> None:
    assert releases.from_server_version(release.version) == release


def test_a_patched_server_counts_as_its_minor_version() -> None:
    assert releases.from_server_version("2.51.7") == releases.find("24.10")


@pytest.mark.parametrize("version", ["2.999.0", "1.0.0", "", "dev"])
def test_an_unknown_server_is_none(version: str) -> None:
    assert releases.from_server_version(version) is None


@pytest.mark.parametrize("name", ["", "24.1", "99.01", "24.10-py3"])
def test_an_unknown_release_is_refused_with_the_range_that_is_known(name: str) -> None:
    with pytest.raises(UsageError, match=r"this Triton release isn't known") as caught:
        releases.find(name)
    assert "24.03" in caught.value.hint


def test_newer_releases_never_read_less_than_older_released_ones() -> None:
    released = [release.onnx for name, release in releases.TABLE.items() if name <= "26.08"]
    assert all(
        (old.opset, old.ml_opset, old.ir) <= (new.opset, new.ml_opset, new.ir)
        for old, new in itertools.pairwise(released)
    )


def test_an_onnxruntime_newer_than_any_measured_reads_what_the_newest_did() -> None:
    assert releases.onnx_limits("1.99.0") == releases.onnx_limits("1.32.0")
