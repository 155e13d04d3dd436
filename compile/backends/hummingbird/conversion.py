"""Run Hummingbird where it is installed, and read what it says."""

from __future__ import annotations

import os
from pathlib import Path

from .... import toolchains, worker
from ....environments import Environment
from ....storage import wire
from ....values import PassNote, Value
from ....worker import Limits

TOOLCHAIN = "hummingbird"
SCRIPT = Path(__file__).with_name("convert_script.py")
FEED_FILE, TREES_FILE, LEAVES_FILE, REPLY_FILE = "feed.npz", "trees.onnx", "leaves.npy", "converted.json"


class Converted(Value):
    """What convert_script.py answers. ``implementation``: Hummingbird's own word for how it walks trees; ``table``: the
    constant of its graph with the leaves' values."""

    hummingbird: str
    torch: str
    implementation: str
    table: str
    trees: str

    @property
    def note(self) -> PassNote:
        words = f"hummingbird-ml {self.hummingbird}, torch {self.torch}: {self.trees} trees by {self.implementation}"
        return PassNote(name=TOOLCHAIN, modified=True, summary=words)


def absent() -> str:
    """Why there is none here; empty where there is one."""
    if toolchains.find(TOOLCHAIN) is not None:
        return ""
    wanted = toolchains.named(TOOLCHAIN)
    return f"it isn't installed (millwork toolchain install {TOOLCHAIN}, {wanted.mb} MB)"


def convert(
    feed: Path, folder: Path, environment: Environment, limits: Limits, *, confined: bool = True
) -> Converted | worker.Failure:
    """Have the feed's trees converted into ``folder``, in a process of its own."""
    done = worker.run_script(
        SCRIPT,
        [str(feed)],
        python=str(environment.python),
        folder=folder,
        limits=limits,
        sandbox=worker.Sandbox(on=confined),
    )
    if isinstance(done, worker.Failure):
        return done
    read = worker.read_reply(done, Converted)
    if isinstance(read, worker.Failure):
        return read
    if os.path.lexists(folder / REPLY_FILE):
        return worker.Failure(kind="error", message=f"it wrote {REPLY_FILE}, a reserved name", seconds=done.seconds)
    (folder / REPLY_FILE).write_bytes(done.value)
    return read


def read_reply(folder: Path) -> Converted:
    return wire.decode((folder / REPLY_FILE).read_bytes(), Converted)
