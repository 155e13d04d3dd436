"""The values that flow between stages: frozen, typed, JSON by ``msgspec``.

    base            what every value is                contracts      what a model takes and gives
    measurements    how far off, how fast              record         one run: run.json
    tensorrt_plan   what a TensorRT plan was made for  manifest       one published version: manifest.json
    served          by what it is served, and the other way

Shapes: N rows, F numeric features, K outputs, T trees. Times are microseconds of one call unless a name says
otherwise (``build_s``: seconds). Arrays never travel in these values: they lie in files beside them.
"""

from __future__ import annotations

from .base import FilePath, Value
from .contracts import FeatureContract, Framework, ModelSummary, OutputContract, OutputKind, Provenance, Task
from .manifest import SCHEMA, FileDigest, Manifest
from .measurements import Interval, Latency, LayerCost, Metric, Parity, WorstRow
from .record import (
    CandidateRecord,
    Example,
    Figures,
    Gpu,
    Headroom,
    LimitAnswer,
    LoadPoint,
    PassNote,
    Publication,
    Record,
    Status,
    TargetSummary,
    TrialRecord,
    Tuning,
    Winner,
)
from .served import OtherWay, ServedWay

__all__ = [
    "SCHEMA", "CandidateRecord", "Example", "FeatureContract", "Figures", "FileDigest", "FilePath", "Framework",
    "Gpu", "Headroom", "Interval", "Latency", "LayerCost", "LimitAnswer", "LoadPoint", "Manifest", "Metric",
    "ModelSummary", "OtherWay", "OutputContract", "OutputKind", "Parity", "PassNote", "Provenance", "Publication",
    "Record", "ServedWay", "Status", "TargetSummary", "Task", "TrialRecord", "Tuning", "Value", "Winner", "WorstRow",
]  # fmt: skip
