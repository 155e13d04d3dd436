"""A measurement on a GPU, with a fake NVML and an engine that counts its own time: what is said of it, and marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from millwork.compile.backends.base import Artifact
from millwork.compile.runners import gpu_watch
from millwork.compile.runners.gpu_watch import State
from millwork.validators import gate_steps, gpu_figures
from millwork.validators.gate_steps import MeasureRequest
from millwork.validators.rows import given as givens
from millwork.validators.rows.given import Given
from millwork.values.measurements import Latency

COOL = State(
    sm_mhz=1980, memory_mhz=2619, most_sm_mhz=1980, busy=5, celsius=40, watts=120.0, used_bytes=0, own_bytes=100
)
HOT = State(
    sm_mhz=1200,
    memory_mhz=2619,
    most_sm_mhz=1980,
    busy=99,
    celsius=88,
    watts=700.0,
    used_bytes=0,
    own_bytes=1100,
    slowed=("thermal slowdown (hardware)",),
)
LINE = Latency(batch=3, p50_us=50.0, p99_us=None, rows_per_s=1.0, ci={})
ROWS = Given(np.arange(20, dtype=np.float32).reshape(10, 2), None)


class Counting:
    """An engine whose time on the GPU is ten microseconds a row."""

    version = "1"

    def __init__(self, *_: Any, kind: str = "apart") -> None:
        self.kind = kind
        self.last_us: Any = {} if kind == "named" else 0.0
        self.copies_us: float | None = None
        self.asked: list[float] = []

    def predict(self, rows: Any, categories: Any = None) -> Any:
        self.asked.append(float(rows[0, 0]))
        run = 10.0 * len(rows)
        self.last_us = {"in": 2.0, "run": run, "out": 1.0} if self.kind == "named" else run
        self.copies_us = 3.0 if self.kind == "apart" else None
        return rows[:, :1]


@pytest.mark.parametrize(("kind", "copies"), [("apart", 3.0), ("within", None), ("named", 3.0)])
def test_the_gpus_own_time_is_beside_the_callers(kind: str, copies: float | None) -> None:
    engine = Counting(kind=kind)
    engine.predict(ROWS.numbers)
    found = gpu_figures.noted(LINE, engine, ROWS, COOL, COOL)
    assert (found.gpu_us, found.copies_us, found.p50_us) == (30.0, copies, 50.0)
    assert len(set(engine.asked)) > 3, "the rows are taken in turn"
    assert found.slowed == ""


def test_a_slowed_measurement_is_marked_and_one_of_no_nvml_is_not() -> None:
    found = gpu_figures.noted(LINE, object(), ROWS, COOL, HOT)
    assert found.gpu_us is None
    assert found.slowed == "thermal slowdown (hardware)"
    assert len(found.gpu_state) == 2
    assert found.gpu_state[1].startswith("1200 of 1980 MHz, 99% busy, 88 C")
    assert gpu_figures.slowed([LINE, found, found]) == "thermal slowdown (hardware)"
    assert gpu_figures.noted(LINE, object(), ROWS, None, None) == LINE


class Watch:
    def __init__(self) -> None:
        self.left = [COOL, HOT]

    def state(self) -> State:
        return self.left.pop(0) if len(self.left) > 1 else self.left[0]


def test_the_step_asks_nvml_for_candidates_of_a_gpu_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "rows").mkdir()
    givens.save(ROWS, tmp_path / "rows")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gate_steps, "runner", lambda *_: Counting)
    watches: list[Watch] = []

    def watch() -> Any:
        watches.append(Watch())
        return watches[-1]

    monkeypatch.setattr(gpu_watch, "watch", watch)
    gpu = Artifact(
        backend="native-cuda",
        precision="fp32",
        model_file="m",
        runner="r",
        triton_backend="python",
        parameters={},
        requirements=(),
    )
    cpu = msgspec.structs.replace(gpu, backend="native")

    def measured(*built: Artifact) -> gate_steps.MeasureReply:
        folders = (str(tmp_path),) * len(built)
        return gate_steps.measure(MeasureRequest(built, folders, str(tmp_path / "rows" / givens.ROWS_FILE), 0, (3,)))

    alone = measured(cpu)
    assert watches == []
    assert alone.gpu_memory == {}
    assert alone.latency["native-fp32"][0].gpu_us is None
    both = measured(cpu, gpu)
    assert list(both.gpu_memory) == ["native-cuda-fp32"]
    assert both.latency["native-cuda-fp32"][0].gpu_us == 30.0
    assert both.latency["native-cuda-fp32"][0].slowed == "thermal slowdown (hardware)"
    assert both.latency["native-fp32"][0].slowed == "", "a CPU isn't slowed by a GPU's heat"
