"""A publisher that dies, is refused by the disk, or loses its power at each of its system calls.

What is asserted, and how, is traced_publishers.py's. ``make faults`` tries all of it; here a power cut comes before
every third call, and each call is refused by one errno of three.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from crashing import system_calls

from millwork import wire
from millwork.artifacts.repository import publish

SCRIPT = Path(__file__).parents[1] / "crashing" / "traced_publishers.py"
MUCH = os.environ.get("MILLWORK_TEST_FAULTS", "some")

pytestmark = pytest.mark.skipif(not system_calls.supported(), reason="the tracer knows x86-64 Linux's calls")


@pytest.mark.parametrize(
    ("mode", "published"),
    [("publish", 0), ("publish", 2), ("refused", 0), ("refused", 2), ("rollback", 2)],
    ids=["first", "again", "first-refused", "refused", "rollback"],
)
def test_every_call_may_be_the_last(mode: str, published: int, tmp_path: Path, make_bundle) -> None:
    template, work = tmp_path / "template", tmp_path / "work"
    (template / "models").mkdir(parents=True)
    work.mkdir()
    for number in range(published):
        publish(make_bundle(f"model {number}".encode()), template / "models", verify=lambda _: None)
    bundle = tmp_path / "bundle.json"
    bundle.write_bytes(wire.encode(make_bundle(b"the next model")))
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(work), str(bundle), str(template), mode, MUCH],
        capture_output=True, text=True, timeout=900,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-3000:]
    found = json.loads((work / "found.json").read_bytes())
    assert found["calls"] > (8 if mode == "rollback" else 30)
    assert found["problems"] == [], "\n".join(found["problems"][:20])
