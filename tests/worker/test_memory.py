"""What a step may hold: by the machine, by the cgroup of a container, and by what is free just now."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from millwork.worker import memory

GIB = 1 << 30


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of 64 GiB, half of it free; its cgroups are in a folder."""
    monkeypatch.setattr(memory, "CGROUPS", tmp_path)
    found = SimpleNamespace(total=64 * GIB, available=32 * GIB)
    monkeypatch.setattr("psutil.virtual_memory", lambda: found)
    return tmp_path


def in_cgroup(line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    own = Path.read_text
    monkeypatch.setattr(
        Path, "read_text", lambda path, *_: f"{line}\n" if str(path) == "/proc/self/cgroup" else own(path)
    )


def test_without_a_limit_it_is_the_machines(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_cgroup("0::/", monkeypatch)
    assert memory.most() == int(64 * GIB * memory.SHARE)
    assert memory.free() == int(32 * GIB * memory.SHARE)


def test_a_containers_limit_counts_wherever_it_is_set(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_cgroup("0::/kubepods/pod", monkeypatch)
    for folder, limit, used in (("kubepods/pod", "max", 0), ("kubepods", str(8 * GIB), 5 * GIB), (".", "max", 0)):
        (machine / folder).mkdir(parents=True, exist_ok=True)
        (machine / folder / "memory.max").write_text(f"{limit}\n")
        (machine / folder / "memory.current").write_text(f"{used}\n")
        (machine / folder / "memory.stat").write_text(f"anon 1\ninactive_file {GIB}\n")
    assert memory.most() == int(8 * GIB * memory.SHARE)
    assert memory.free() == int(4 * GIB * memory.SHARE), "the cache of files isn't in use"


def test_a_limit_of_the_first_version(machine: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    in_cgroup("4:cpu,memory:/docker/1234", monkeypatch)  # the host's path, which isn't in the container
    (machine / "memory").mkdir()
    (machine / "memory" / "memory.limit_in_bytes").write_text(str(2 * GIB))
    (machine / "memory" / "memory.usage_in_bytes").write_text(str(GIB))
    assert memory.most() == int(2 * GIB * memory.SHARE)
    assert memory.free() == memory.LEAST, "caches that the kernel doesn't count as free are"
