"""What others do with the machine while something is measured."""

from __future__ import annotations

import pytest

from millwork.worker import busy


@pytest.mark.parametrize(("kept", "said"), [(2, ""), (50, "kept 2.0 of its 4 cores at work")])
def test_a_busy_machine_is_said(monkeypatch: pytest.MonkeyPatch, kept: int, said: str) -> None:
    looks = iter([(1000, 5000), (1000 + kept, 5100)])
    monkeypatch.setattr(busy, "_ticks", lambda: next(looks))
    monkeypatch.setattr("os.cpu_count", lambda: 4)
    monkeypatch.setattr("time.sleep", lambda _: None)
    told = busy.others()
    assert said in told
    assert bool(told) == bool(said)


def test_the_machines_own_counters_are_read() -> None:
    ticks = busy._ticks()
    assert ticks is None or 0 < ticks[0] < ticks[1]
