"""SIGTERM and SIGHUP end a command as Ctrl-C does; an undo goes on whatever comes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from millwork.artifacts.repository import publish, served_version
from millwork.errors import PublicationError
from millwork.interrupts import ENDING, Stopped, hear, held


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    were = {number: signal.getsignal(number) for number in ENDING}
    yield
    for number, handler in were.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_it_is_raised_as_ctrl_c_is(number: signal.Signals) -> None:
    hear()
    with pytest.raises(KeyboardInterrupt) as caught:
        os.kill(os.getpid(), number)
    assert isinstance(caught.value, Stopped)
    assert caught.value.number == number


def test_what_nohup_ignores_stays_ignored() -> None:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    hear()
    os.kill(os.getpid(), signal.SIGHUP)
    with held():
        os.kill(os.getpid(), signal.SIGHUP)


@pytest.mark.parametrize("first", ENDING)
@pytest.mark.parametrize("second", ENDING)
def test_a_second_signal_does_not_end_the_undo(
    make_bundle, tmp_path: Path, capfd: pytest.CaptureFixture[str], first: signal.Signals, second: signal.Signals
) -> None:
    """What serves is what served before, the server is told, and the outcome is a publication's: 7, not 130."""
    hear()
    publish(make_bundle(b"one"), tmp_path / "models")
    told: list[int | None] = []

    def verify(_version: int) -> None:
        os.kill(os.getpid(), first)

    def restored(version: int | None) -> None:
        os.kill(os.getpid(), second)
        told.append(version)

    with pytest.raises(PublicationError, match="; version 1 still serves") as caught:
        publish(make_bundle(b"two"), tmp_path / "models", verify=verify, restored=restored)
    words = "interrupted" if first == signal.SIGINT else f"stopped by {first.name}"
    assert f"publishing failed: {words}" in caught.value.message
    assert told == [1]
    assert served_version(tmp_path / "models", "m") == 1
    assert "still undoing what was begun" in capfd.readouterr().err
    with pytest.raises(KeyboardInterrupt):  # afterwards it is heard again
        os.kill(os.getpid(), second)


def test_in_another_thread_nothing_changes() -> None:
    code = """
import threading, signal
from millwork.interrupts import held
def work():
    with held():
        done.append(signal.getsignal(signal.SIGTERM))
done = []
thread = threading.Thread(target=work); thread.start(); thread.join()
assert done == [signal.SIG_DFL]
"""
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
