"""What stops a publication undoes it, once and wholly, whichever signal it is and however many there are."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from millwork import interrupts
from millwork.artifacts.repository import Repository, at, publish
from millwork.artifacts.repository.cut_off import Unfinished
from millwork.commands import doctor as doctor_command
from millwork.commands import verify as verify_command
from millwork.errors import PublicationError


@pytest.fixture(autouse=True)
def as_a_command():
    """Signals are caught as the command line catches them."""
    before = {number: signal.getsignal(number) for number in interrupts.ENDING}
    interrupts.catch()
    yield
    for number, handler in before.items():
        signal.signal(number, handler)
    interrupts._STATE.__init__()


def send(number: int) -> None:
    os.kill(os.getpid(), number)


@pytest.mark.parametrize("number", interrupts.ENDING, ids=lambda number: number.name)
def test_every_signal_undoes_a_publication_and_the_next_ones_wait_for_that(
    number: signal.Signals, anywhere: Repository, make_bundle, capfd: pytest.CaptureFixture[str]
) -> None:
    anywhere.publish(make_bundle(b"first"), verify=lambda _: None)
    told: list[int | None] = []

    def restored(version: int | None) -> None:
        for another in interrupts.ENDING:
            send(another)
        told.append(version)

    named = "Ctrl-C" if number == signal.SIGINT else number.name
    with pytest.raises(PublicationError, match=rf"interrupted by {named}; version 1 still serves"):
        anywhere.publish(make_bundle(b"second"), verify=lambda _: send(number), restored=restored)
    assert told == [1]
    assert anywhere.serves("m") == 1
    assert anywhere.unfinished("m") is None
    assert interrupts.held(), "no other bundle is tried"
    assert "SIGTERM: what was begun is being undone first" in capfd.readouterr().err


def test_a_signal_while_a_failed_version_is_undone_waits(anywhere: Repository, make_bundle) -> None:
    """Nobody had interrupted it: its verification failed. The same for a rollback."""
    anywhere.publish(make_bundle(b"first"), verify=lambda _: None)
    anywhere.publish(make_bundle(b"second"), verify=lambda _: None)

    def wrong(_: int) -> None:
        raise PublicationError("it answers wrong")

    with pytest.raises(PublicationError, match=r"it answers wrong; version 2 still serves"):
        anywhere.publish(make_bundle(b"third"), verify=wrong, restored=lambda _: send(signal.SIGINT))
    with pytest.raises(PublicationError, match=r"it answers wrong; version 2 still serves"):
        anywhere.rollback("m", verify=wrong, restored=lambda _: send(signal.SIGTERM))
    assert (anywhere.serves("m"), anywhere.unfinished("m")) == (2, None)


def test_a_signal_after_the_publication_leaves_it_published(anywhere: Repository, make_bundle) -> None:
    done = anywhere.publish(make_bundle())
    send(signal.SIGTERM)
    assert anywhere.serves("m") == done.version


def test_what_is_ignored_stays_ignored_and_a_handler_of_the_users_stays_theirs() -> None:
    def own(*_: object) -> None: ...

    signal.signal(signal.SIGHUP, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, own)
    interrupts.catch()
    assert (signal.getsignal(signal.SIGHUP), signal.getsignal(signal.SIGTERM)) == (signal.SIG_IGN, own)


def test_without_a_command_line_ctrl_c_is_pythons_own_again(anywhere: Repository, make_bundle) -> None:
    signal.signal(signal.SIGINT, signal.default_int_handler)
    interrupts._STATE.__init__()
    with pytest.raises(PublicationError, match="interrupted by Ctrl-C; no version of the model serves"):
        anywhere.publish(make_bundle(), verify=lambda _: send(signal.SIGINT), restored=lambda _: send(signal.SIGINT))
    assert signal.getsignal(signal.SIGINT) is signal.default_int_handler


def test_who_was_killed_is_told_and_how_it_ends(repository: Path, make_bundle) -> None:
    """A publisher that is gone once config.pbtxt names its version: what a SIGKILL leaves."""
    where = at(str(repository))
    where.publish(make_bundle(b"first"), verify=lambda _: None)
    assert doctor_command.examine(str(repository))[-1].version == "1 model, every publication finished"
    second = make_bundle(b"second")
    child = os.fork()
    if not child:
        publish(second, repository, verify=lambda _: os._exit(0))
    os.waitpid(child, 0)
    told = "the publication of version 2 was cut off: config.pbtxt names it, and it was never verified"
    found = verify_command.version(str(repository), "m", None, None)
    assert [problem for problem in found.problems if told in problem and "(version 1 serves again)" in problem]
    assert told in verify_command.version(str(repository), "m", 1, None).unfinished
    assert told in doctor_command.examine(str(repository))[-1].hint
    where.publish(second, verify=lambda _: None)
    assert where.unfinished("m") is None
    assert verify_command.version(str(repository), "m", None, None).problems == ()


def test_who_publishes_now_is_told(anywhere: Repository, make_bundle, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Unfinished | None] = []
    found: list[verify_command.Verified] = []

    def verify(_: int) -> None:
        seen.append(anywhere.unfinished("m"))
        found.append(verify_command.version(anywhere.url, "m", None, None))
        monkeypatch.setattr("psutil.pid_exists", lambda _: False)  # as where it was killed: a store has no lock
        seen.append(anywhere.unfinished("m"))

    anywhere.publish(make_bundle(), verify=verify)
    now, later = seen
    assert now is not None
    assert later is not None
    assert (now.version, now.committed, now.cut_off) == (1, True, False)
    assert f"version 1 is being published by process {os.getpid()} on " in now.words
    assert found[0].unfinished.startswith(now.words)
    assert found[0].problems == ()
    assert later.cut_off is ("://" in anywhere.url)
    assert anywhere.unfinished("m") is None
