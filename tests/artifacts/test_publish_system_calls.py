"""A publisher that dies, is refused by the disk, or loses its power at each of its system calls.

What is asserted, and how, is traced_publishers.py's. ``make faults`` tries all of it; here a power cut comes before
every fifth call, each call is refused by one errno of three, and every ninth by a disk that stays full, by one that
stays broken, and is followed by a power cut after the next publication.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from crashing import system_calls

from millwork.artifacts.repository import publish
from millwork.storage import wire

SCRIPT = Path(__file__).parents[1] / "crashing" / "traced_publishers.py"
MUCH = os.environ.get("MILLWORK_TEST_FAULTS", "some")

NO_REPOSITORY, SOMEBODY_ELSES = -1, -2
FOREIGN = '# not ours\nname: "m"\nbackend: "python"\nmax_batch_size: 8\n'

pytestmark = pytest.mark.skipif(not system_calls.supported(), reason="the tracer knows x86-64 Linux's calls")


@pytest.mark.parametrize(
    ("mode", "published"),
    [
        ("publish", NO_REPOSITORY),
        ("publish", 2),
        ("refused", 0),
        ("refused", 2),
        ("refused", SOMEBODY_ELSES),
        ("rollback", 2),
    ],
    ids=["first", "again", "first-refused", "refused", "foreign-refused", "rollback"],
)
def test_every_call_may_be_the_last(mode: str, published: int, tmp_path: Path, make_bundle) -> None:
    template, work = tmp_path / "template", tmp_path / "work"
    (template if published == NO_REPOSITORY else template / "models").mkdir(parents=True)
    if published == SOMEBODY_ELSES:
        (template / "models" / "m" / "4").mkdir(parents=True)
        (template / "models" / "m" / "4" / "foreign.py").write_text("pass")
        (template / "models" / "m" / "config.pbtxt").write_text(FOREIGN)
    work.mkdir()
    for number in range(published):
        publish(make_bundle(f"model {number}".encode()), template / "models", verify=lambda _: None)
    bundle = tmp_path / "bundle.json"
    bundle.write_bytes(wire.encode(make_bundle(b"the next model")))
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(work), str(bundle), str(template), mode, MUCH],
        capture_output=True,
        text=True,
        timeout=900,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((work / "found.json").read_bytes())
    assert found["calls"] > (8 if mode == "rollback" else 30)
    assert found["problems"] == [], "\n".join(found["problems"][:20])
