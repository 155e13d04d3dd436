"""Each layer alone against every hostile file: the inert stubs, the allow-list, the sandbox. None gets past any.

The stubs are asked here, in this process. For the other two the files are opened as they must not be, by pickle and
joblib, in a process behind that layer and no other (opening_hostile.py).
"""

from __future__ import annotations

import contextlib
import signal
import socket
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from models import hostile_pickles, hostile_roads
from models.hostile_pickles import Attack

from millwork import worker
from millwork.compile.frontends.pickles import PickledModel, read_pickled
from millwork.errors import ModelError
from millwork.worker import Done, Limits, sandbox

OPENING = Path(__file__).with_name("opening_hostile.py")


@dataclass
class Range:
    """Where the attacks are let loose: what they would write, where they would knock, whom they would signal."""

    canary: Path
    listener: socket.socket
    signals: list[int] = field(default_factory=list)

    def attacks(self) -> list[Attack]:
        canary, port = str(self.canary), int(self.listener.getsockname()[1])
        return [*hostile_pickles.everything(canary), *hostile_roads.everything(canary, port)]

    def knocks(self) -> int:
        """How many have connected since it was asked last."""
        count = 0
        with contextlib.suppress(BlockingIOError):
            while True:
                self.listener.accept()[0].close()
                count += 1
        return count

    def untouched(self) -> bool:
        return not list(self.canary.parent.iterdir()) and not self.knocks() and not self.signals


@pytest.fixture
def ground(tmp_path: Path) -> Iterator[Range]:
    outside = tmp_path / "outside"
    outside.mkdir()
    with socket.create_server(("127.0.0.1", 0), backlog=100) as listener:
        listener.setblocking(False)
        made = Range(outside / "sings", listener)
        before = signal.signal(signal.SIGUSR1, lambda number, _: made.signals.append(number))
        yield made
        signal.signal(signal.SIGUSR1, before)


def let_loose(attacks: list[Attack], ground: Range, tmp_path: Path, how: str, *, confined: bool) -> list[str]:
    """The names of those that wrote the canary. One that hangs, or takes its process down, is passed over."""
    folder, own = tmp_path / "files", tmp_path / "own"
    folder.mkdir(), own.mkdir()
    for number, attack in enumerate(attacks):
        (folder / f"{number:03}{'.joblib' if attack.with_joblib else '.pkl'}").write_bytes(attack.payload)
    begin = 0
    while begin < len(attacks):
        done = worker.run_script(
            OPENING,
            [str(folder), str(begin), str(own), str(ground.canary), how],
            python=sys.executable,
            folder=own,
            limits=Limits(seconds=120),
            sandbox=worker.Sandbox(reads=(folder,), on=confined),
        )
        if isinstance(done, Done):
            break
        assert done.kind in {"exit", "segfault", "abort", "out-of-memory"}, done
        begin = int((own / "progress").read_text()) + 1
    through = own / "through"
    return [attacks[int(line)].name for line in through.read_text().split()] if through.exists() else []


def test_there_are_attacks_enough(ground: Range) -> None:
    names = [attack.name for attack in ground.attacks()]
    assert len(names) == len(set(names)) >= 250


def test_without_a_layer_they_do_get_through(ground: Range, tmp_path: Path) -> None:
    """Otherwise the tests below would show nothing."""
    live = [attack for attack in ground.attacks() if attack.live]
    knocking = {attack.name for attack in live if "socket" in attack.name}
    through = let_loose(live, ground, tmp_path, "plainly", confined=False)
    assert [attack.name for attack in live if attack.name not in {*through, *knocking}] == []
    assert ground.knocks() == len(knocking) >= 2
    assert len(live) >= 130


def test_the_stubs_alone(ground: Range) -> None:
    modules = {name for name in sys.modules if not name.startswith("encodings.")}
    for attack in ground.attacks():
        outcome = outcome_of(attack.payload)
        if isinstance(outcome, ModelError):
            assert outcome.message.startswith("m.pkl: "), attack.name
            assert len(str(outcome)) < 1000, attack.name
            assert str(outcome).replace("\n", "").isprintable(), attack.name
        else:  # an honest model with something else beside it, of which nothing is made
            assert outcome.payload.startswith(b"{L"), attack.name
        assert ground.untouched(), attack.name
    assert {name for name in sys.modules if not name.startswith("encodings.")} == modules


def outcome_of(payload: bytes) -> PickledModel | ModelError:
    try:
        return read_pickled(payload, "m.pkl")
    except ModelError as error:
        return error


def test_the_allow_list_alone(ground: Range, tmp_path: Path) -> None:
    assert let_loose(ground.attacks(), ground, tmp_path, "allowed", confined=False) == []
    assert ground.untouched()


def test_the_sandbox_alone(ground: Range, tmp_path: Path) -> None:
    if sandbox.missing():
        pytest.skip(sandbox.missing())
    assert let_loose(ground.attacks(), ground, tmp_path, "plainly", confined=True) == []
    assert ground.untouched()
