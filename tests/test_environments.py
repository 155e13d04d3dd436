"""Managed environments, with real pip and packages made here: nothing is asked of a network."""

from __future__ import annotations

import base64
import csv
import errno
import hashlib
import io
import os
import signal
import subprocess
import sys
import time
import zipfile
from pathlib import Path

import pytest

from millwork import environments
from millwork.errors import TargetError, UsageError
from millwork.storage.run_directory import RunDirectory


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, and a pip that can see the wheels made here and no index."""
    folder, wheels = tmp_path / "cache", tmp_path / "wheels"
    wheels.mkdir()
    make_wheel(wheels, "sprocket", "1.0")
    make_wheel(wheels, "sprocket", "2.0")
    make_wheel(wheels, "gearbox", "1.0", needs="sprocket>=1")
    monkeypatch.setenv("MILLWORK_CACHE", str(folder))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    return folder


def make_wheel(folder: Path, name: str, version: str, needs: str = "") -> None:
    """A wheel with one module that says its version."""
    about = f"{name}-{version}.dist-info"
    metadata = f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n" + (
        f"Requires-Dist: {needs}\n" if needs else ""
    )
    files = {
        f"{name}.py": f"VERSION = {version!r}\n",
        f"{about}/METADATA": metadata,
        f"{about}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = io.StringIO()
    rows = csv.writer(record, lineterminator="\n")
    for path, text in files.items():
        digest = base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
        rows.writerow((path, f"sha256={digest}", len(text)))
    rows.writerow((f"{about}/RECORD", "", ""))
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for path, text in {**files, f"{about}/RECORD": record.getvalue()}.items():
            wheel.writestr(path, text)


def version_in(environment: environments.Environment, module: str) -> str:
    code = f"import {module}; print({module}.VERSION)"
    return subprocess.run([environment.python, "-c", code], capture_output=True, text=True, check=True).stdout.strip()


def test_an_environment_is_built_once_and_found_again(cache: Path) -> None:
    assert environments.find("tools", ["sprocket==1.0"]) is None
    said: list[str] = []
    built = environments.ensure("tools", ["sprocket==1.0"], said.append)
    assert version_in(built, "sprocket") == "1.0"
    assert any("sprocket" in line for line in said)

    again: list[str] = []
    assert environments.ensure("tools", ["sprocket==1.0"], again.append) == built
    assert environments.find("tools", ["sprocket==1.0"]) == built
    assert again == []

    marker = environments.read_marker(Path(built.path))
    assert marker is not None
    assert marker.sha256 == environments.address(["sprocket==1.0"])
    assert len(marker.sha256) == 64
    assert "sprocket==1.0" in marker.freeze
    assert Path(built.path).parent == cache / "envs"


def test_other_requirements_are_another_environment() -> None:
    assert environments.address(["a==1", "b==2"]) == environments.address(["b==2", "a==1"])
    assert environments.address(["a==1"]) != environments.address(["a==2"])


def test_without_a_pip_of_the_running_python_the_environment_brings_its_own(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "_has_pip", lambda: False)
    built = environments.ensure("tools", ["sprocket==1.0"])
    assert (Path(built.path) / "bin" / "pip").exists()
    assert version_in(built, "sprocket") == "1.0"


def test_a_build_that_was_killed_is_done_again(cache: Path) -> None:
    code = (
        "import os, signal\n"
        "from millwork import environments\n"
        "kill = lambda line: os.kill(os.getpid(), signal.SIGKILL) if 'Installing' in line else None\n"
        "environments.ensure('tools', ['sprocket==1.0'], kill)\n"
    )
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE) as killed:
        assert killed.wait() == -signal.SIGKILL  # and its pip lives on: it isn't waited for
    assert list((cache / "envs").glob("tools-*/bin/python")), "it was killed in the middle"

    assert environments.find("tools", ["sprocket==1.0"]) is None
    assert version_in(environments.ensure("tools", ["sprocket==1.0"]), "sprocket") == "1.0"


def test_what_a_killed_builder_left_running_is_waited_for(cache: Path) -> None:
    """Its pip would write into the folder that the next builder has emptied."""
    ended = cache.parent / "ended"
    late = f"import time; from pathlib import Path; time.sleep(2); Path({str(ended)!r}).touch()"
    code = (
        "import os, signal, subprocess, sys\n"
        "from pathlib import Path\n"
        "from millwork import environments\n"
        f"late = {late!r}\n"
        "environments._pip = lambda _environment: [sys.executable, '-c', late]\n"
        "started = subprocess.Popen\n"
        "def die(*arguments, **options):\n"
        "    child = started(*arguments, **options)\n"
        "    if options.get('start_new_session'):\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "    return child\n"
        "subprocess.Popen = die\n"
        "environments.ensure('tools', ['sprocket==1.0'])\n"
    )
    with subprocess.Popen([sys.executable, "-c", code]) as killed:
        assert killed.wait() == -signal.SIGKILL
    assert not ended.exists()
    said: list[str] = []
    assert version_in(environments.ensure("tools", ["sprocket==1.0"], said.append), "sprocket") == "1.0"
    assert ended.exists()
    assert any("waiting for another process" in line for line in said)


def test_two_processes_build_it_once(cache: Path) -> None:
    code = (
        "from millwork import environments\n"
        "said = []\n"
        "environments.ensure('tools', ['sprocket==1.0'], said.append)\n"
        "print(sum(line.startswith('creating') for line in said))\n"
    )
    both = [subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) for _ in range(2)]
    built = sorted(process.communicate()[0].strip() for process in both)
    assert [process.returncode for process in both] == [0, 0]
    assert built == ["0", "1"]


def test_what_pip_can_not_find_is_said_and_leaves_nothing(cache: Path) -> None:
    with pytest.raises(TargetError, match="No matching distribution found for sprocket==9") as caught:
        environments.ensure("tools", ["sprocket==9"])
    assert "pip config" in caught.value.hint
    assert not list((cache / "envs").glob("tools-*/"))


def test_a_cache_that_can_not_be_written_is_said(cache: Path) -> None:
    cache.write_text("a file where the folder should be")
    with pytest.raises(TargetError, match="envs") as caught:
        environments.ensure("tools", ["sprocket==1.0"])
    assert "MILLWORK_CACHE" in caught.value.hint


def refused_lock(folder: Path) -> None:
    """As in a cache that may only be read; and whoever runs this may write anywhere."""
    lock = Path(f"{folder}.lock")
    lock.unlink()
    lock.mkdir()


@pytest.mark.parametrize("part", ["", "envs"])
def test_a_cache_that_others_may_write_to_is_refused(cache: Path, part: str) -> None:
    """What lies there runs as this user, outside of any sandbox."""
    folder = cache / part
    folder.mkdir(parents=True)
    folder.chmod(0o777)
    with pytest.raises(UsageError, match="everybody may write to it, and what lies there runs as you") as told:
        environments.find("one", ["sprocket"])
    assert "MILLWORK_CACHE" in told.value.hint
    folder.chmod(0o775)
    assert environments.find("one", ["sprocket"]) is None


def test_a_lock_that_can_not_be_taken_is_said() -> None:
    environment = environments.ensure("tools", ["sprocket==1.0"])
    folder = Path(environment.path)
    refused_lock(folder)
    assert environments.find("tools", ["sprocket==1.0"]) == environment, "nothing is to be locked"
    with pytest.raises(TargetError, match=rf"{folder}\.lock: this is a folder") as caught:
        environments.add(environment, ["gearbox"])
    assert "MILLWORK_CACHE" in caught.value.hint
    (folder / environments.ADDING).touch()
    for look in (environments.find, environments.ensure):
        with pytest.raises(TargetError, match=rf"{folder}\.lock: this is a folder") as caught:
            look("tools", ["sprocket==1.0"])
        assert "MILLWORK_CACHE" in caught.value.hint


def test_a_full_cache_is_not_the_run_directorys_fault(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A model's packages are added while a stage is made."""
    environment = environments.ensure("tools", ["sprocket==1.0"])

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def provide(_folder: Path) -> int:
        environments.add(environment, ["gearbox"])
        return 1

    monkeypatch.setattr(environments, "atomic_write", full)
    with RunDirectory(tmp_path / "run") as run, pytest.raises(TargetError) as caught:
        run.stage("serve", {}, provide, int)
    assert caught.value.message == f"{environment.path}: the disk is full"
    assert "MILLWORK_CACHE" in caught.value.hint


def test_adding_installs_what_is_missing_and_asks_nobody_when_it_is_there(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = environments.ensure("tools", ["sprocket==1.0"])
    environments.add(environment, ["gearbox"])
    assert version_in(environment, "gearbox") == "1.0"
    assert version_in(environment, "sprocket") == "1.0", "what it was made from still holds"
    marker = environments.read_marker(Path(environment.path))
    assert marker is not None
    assert marker.added == ("gearbox",)
    assert "gearbox==1.0" in marker.freeze

    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    environments.add(environment, ["gearbox>=1", "sprocket"])
    assert environments.find("tools", ["sprocket==1.0"]) == environment
    with monkeypatch.context() as without_pip:
        without_pip.setattr(environments, "_run_pip", None)
        environments.add(environment, ["gearbox==1.0", "sprocket"])
    assert not environments.satisfied(environment, ["gearbox==2.0"])
    assert not environments.satisfied(environment, ["axle"])


def test_an_addition_that_was_killed_has_the_environment_built_again() -> None:
    environment = environments.ensure("tools", ["sprocket==1.0"])
    code = (
        "import os, signal, sys\n"
        "from millwork import environments\n"
        "def announce(line):\n"
        "    if 'Installing' in line:\n"
        "        assert environments.find('tools', ['sprocket==1.0'])  # while somebody is at it, it serves\n"
        "        os.kill(os.getpid(), signal.SIGKILL)\n"
        "environments.add(environments.Environment(path=sys.argv[1]), ['gearbox'], announce)\n"
    )
    killed = subprocess.run([sys.executable, "-c", code, environment.path], env=dict(os.environ))
    assert killed.returncode == -signal.SIGKILL
    deadline = time.monotonic() + 60
    while environments.find("tools", ["sprocket==1.0"]):  # its pip may live on, and is at it still
        assert time.monotonic() < deadline
        time.sleep(0.05)
    assert environments.ensure("tools", ["sprocket==1.0"]) == environment
    marker = environments.read_marker(Path(environment.path))
    assert marker is not None
    assert marker.added == ()


def test_an_addition_that_conflicts_is_refused_and_changes_nothing() -> None:
    environment = environments.ensure("tools", ["sprocket==1.0"])
    with pytest.raises(TargetError, match=r"could not install sprocket==2\.0"):
        environments.add(environment, ["sprocket==2.0"])
    assert version_in(environment, "sprocket") == "1.0"
    assert environments.find("tools", ["sprocket==1.0"]) == environment


def only(environment: environments.Environment, *others: str) -> None:
    """Nothing is in the cache but it, its lock, and ``others`` beside it."""
    folder = Path(environment.path)
    assert sorted(path.name for path in folder.parent.iterdir()) == sorted(
        [folder.name, f"{folder.name}.lock", *(f"{folder.name}{other}" for other in others)]
    )


@pytest.mark.parametrize("content", ["{", '{"sha256":"0"}'])
def test_a_damaged_marker_costs_no_download(content: str, monkeypatch: pytest.MonkeyPatch) -> None:
    environment = environments.ensure("tools", ["sprocket==1.0"])
    environments.add(environment, ["gearbox"])
    inode = Path(environment.path).stat().st_ino
    (Path(environment.path) / environments.MARKER).write_text(content)
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    said: list[str] = []
    assert environments.ensure("tools", ["sprocket==1.0"], said.append) == environment
    assert said == [f"{environment.path} is whole but for its marker, which is written again"]
    assert Path(environment.path).stat().st_ino == inode, "it isn't built again"
    marker = environments.read_marker(Path(environment.path))
    assert marker is not None
    assert marker.added == ("gearbox==1.0",)


def test_an_addition_that_was_broken_off_offline_leaves_what_works(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = environments.ensure("tools", ["sprocket==1.0"])
    (Path(environment.path) / environments.ADDING).touch()
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    assert environments.ensure("tools", ["sprocket==1.0"]) == environment
    assert environments.find("tools", ["sprocket==1.0"]) == environment
    only(environment)


def test_what_is_not_whole_stays_where_pip_fails_and_is_not_used(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = environments.ensure("tools", ["sprocket==1.0"])
    (module,) = Path(environment.path).glob("lib/python*/site-packages/sprocket.py")
    module.write_text("VERSION = '9.0'\n")
    (Path(environment.path) / environments.MARKER).write_text("{")
    with monkeypatch.context() as offline:
        offline.setenv("PIP_FIND_LINKS", "/nowhere")
        with pytest.raises(TargetError, match=rf"stays, but isn't whole: {module} has changed"):
            environments.ensure("tools", ["sprocket==1.0"])
    assert module.read_text() == "VERSION = '9.0'\n"
    only(environment)
    assert version_in(environments.ensure("tools", ["sprocket==1.0"]), "sprocket") == "1.0"
    only(environment)


def test_a_process_that_runs_from_it_keeps_its_files_until_it_ends() -> None:
    environment = environments.ensure("tools", ["sprocket==1.0"])
    folder = Path(environment.path)
    (folder / environments.MARKER).unlink()
    (module,) = folder.glob("lib/python*/site-packages/sprocket.py")
    module.unlink()
    command = [environment.python, "-c", "import os, sys; sys.stdin.read(); print(os.path.exists('mine'))"]
    (folder / "mine").touch()
    with subprocess.Popen(command, cwd=folder, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as runs:
        assert environments.ensure("tools", ["sprocket==1.0"]) == environment
        (before,) = folder.parent.glob(f"{folder.name}.old-*")
        assert runs.communicate("")[0].strip() == "True"
    assert version_in(environment, "sprocket") == "1.0"
    (folder / environments.MARKER).unlink()
    module.unlink()
    environments.ensure("tools", ["sprocket==1.0"])
    assert not before.exists()
    only(environment)


def test_a_change_that_was_killed_between_its_renames_is_finished(monkeypatch: pytest.MonkeyPatch) -> None:
    environment = environments.ensure("tools", ["sprocket==1.0"])
    folder = Path(environment.path)
    monkeypatch.setenv("PIP_FIND_LINKS", "/nowhere")
    for left in (".new", ".old-0123abcd"):
        folder.rename(f"{folder}{left}")
        assert environments.ensure("tools", ["sprocket==1.0"]) == environment
        assert version_in(environment, "sprocket") == "1.0"
        only(environment)


def test_programs_of_an_environment_run_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(environments, "_has_pip", lambda: False)
    environment = environments.ensure("tools", ["sprocket==1.0"])
    said = subprocess.run([Path(environment.path) / "bin" / "pip", "--version"], capture_output=True, text=True)
    assert said.returncode == 0, said.stderr
    assert environment.path in said.stdout
