"""Triton releases, and what the backends of each one read: a table, one line a release.

Sources, release by release:

- version, onnxruntime: ``TRITON_VERSION`` and ``build.py`` on branch rYY.MM of triton-inference-server/server.
- treelite, the configuration that FIL takes: ``cmake/thirdparty/get_treelite.cmake`` and ``src/`` on branch rYY.MM of
  triton-inference-server/fil_backend. It has no branch after 26.06: later lines repeat that one.
- 26.09 was not released when this was written: its line is the development branch's.
- what each onnxruntime reads: measured, by loading models of each opset and IR version with its CPU wheel.
"""

from __future__ import annotations

from typing import Literal

from .errors import UsageError
from .values import Value

FilDialect = Literal["output_class", "is_classifier"]
"""How FIL is told that a model is a classifier; the other settings changed at the same time (25.09)."""


class OnnxLimits(Value):
    """The newest that an onnxruntime reads. ``tree_ensemble``: runs ai.onnx.ml 5's TreeEnsemble operator."""

    opset: int
    ml_opset: int
    ir: int
    tree_ensemble: bool


class Release(Value):
    """One Triton release: ``name`` is its container's (24.10), ``version`` the server's own (2.51.0)."""

    name: str
    version: str
    onnxruntime: str
    treelite: str
    fil_dialect: FilDialect

    @property
    def number(self) -> tuple[int, int]:
        """(24, 10) of ``24.10``."""
        year, month = self.name.split(".")
        return int(year), int(month)

    @property
    def onnx(self) -> OnnxLimits:
        return onnx_limits(self.onnxruntime)


_V1_17 = OnnxLimits(opset=20, ml_opset=4, ir=9, tree_ensemble=False)
_V1_18 = OnnxLimits(opset=21, ml_opset=5, ir=10, tree_ensemble=False)
_V1_21 = OnnxLimits(opset=22, ml_opset=5, ir=10, tree_ensemble=True)
_V1_23 = OnnxLimits(opset=23, ml_opset=5, ir=11, tree_ensemble=True)
_V1_24 = OnnxLimits(opset=25, ml_opset=5, ir=13, tree_ensemble=True)
_V1_27 = OnnxLimits(opset=26, ml_opset=5, ir=13, tree_ensemble=True)
_V1_32 = OnnxLimits(opset=27, ml_opset=5, ir=14, tree_ensemble=True)

ONNXRUNTIME: tuple[tuple[tuple[int, int], OnnxLimits], ...] = (
    ((1, 17), _V1_17),
    ((1, 18), _V1_18),
    ((1, 21), _V1_21),
    ((1, 23), _V1_23),
    ((1, 24), _V1_24),
    ((1, 27), _V1_27),
    ((1, 32), _V1_32),
)
"""From which onnxruntime on these limits hold, oldest first (measured; see the module's text)."""

_ROWS: tuple[tuple[str, str, str, str, FilDialect], ...] = (
    # release, Triton, onnxruntime, Treelite, how FIL is configured
    ("24.03", "2.44.0", "1.17.2", "4.0.0", "output_class"),
    ("24.04", "2.45.0", "1.17.3", "4.0.0", "output_class"),
    ("24.05", "2.46.0", "1.18.0", "4.1.2", "output_class"),
    ("24.06", "2.47.0", "1.18.0", "4.1.2", "output_class"),
    ("24.07", "2.48.0", "1.18.1", "4.1.2", "output_class"),
    ("24.08", "2.49.0", "1.19.0", "4.1.2", "output_class"),
    ("24.09", "2.50.0", "1.19.2", "4.3.0", "output_class"),
    ("24.10", "2.51.0", "1.19.2", "4.3.0", "output_class"),
    ("24.11", "2.52.0", "1.19.2", "4.4.0", "output_class"),
    ("24.12", "2.53.0", "1.20.1", "4.4.0", "output_class"),
    ("25.01", "2.54.0", "1.20.1", "4.4.1", "output_class"),
    ("25.02", "2.55.0", "1.20.1", "4.4.1", "output_class"),
    ("25.03", "2.56.0", "1.21.0", "4.4.1", "output_class"),
    ("25.04", "2.57.0", "1.21.0", "4.4.1", "output_class"),
    ("25.05", "2.58.0", "1.22.0", "4.4.1", "output_class"),
    ("25.06", "2.59.0", "1.22.0", "4.4.1", "output_class"),
    ("25.07", "2.59.1", "1.22.0", "4.4.1", "output_class"),
    ("25.08", "2.60.0", "1.23.0", "4.4.1", "output_class"),
    ("25.09", "2.61.0", "1.23.0", "4.4.1", "is_classifier"),
    ("25.10", "2.62.0", "1.23.1", "4.4.1", "is_classifier"),
    ("25.11", "2.63.0", "1.23.2", "4.4.1", "is_classifier"),
    ("25.12", "2.64.0", "1.23.2", "4.4.1", "is_classifier"),
    ("26.01", "2.65.0", "1.23.2", "4.6.1", "is_classifier"),
    ("26.02", "2.66.0", "1.24.1", "4.6.1", "is_classifier"),
    ("26.03", "2.67.0", "1.24.2", "4.6.1", "is_classifier"),
    ("26.04", "2.68.0", "1.24.4", "4.6.1", "is_classifier"),
    ("26.05", "2.69.0", "1.24.4", "4.6.1", "is_classifier"),
    ("26.06", "2.70.0", "1.24.4", "4.7.0", "is_classifier"),
    ("26.07", "2.71.0", "1.27.0", "4.7.0", "is_classifier"),
    ("26.08", "2.72.0", "1.28.0", "4.7.0", "is_classifier"),
    ("26.09", "2.73.0", "1.27.0", "4.7.0", "is_classifier"),
)

TABLE: dict[str, Release] = {
    name: Release(name=name, version=version, onnxruntime=runtime, treelite=treelite, fil_dialect=dialect)
    for name, version, runtime, treelite, dialect in _ROWS
}
"""By release name, oldest first."""


def find(release: str) -> Release:
    """The release called ``YY.MM``; UsageError where the table has none of that name."""
    if release in TABLE:
        return TABLE[release]
    names = list(TABLE)
    raise UsageError(
        f"--triton-release {release!r}: this Triton release isn't known",
        f"Known releases: {names[0]} to {names[-1]} (YY.MM, a container's tag without -py3).",
    )


def newest() -> Release:
    """The newest release of the table."""
    return list(TABLE.values())[-1]


def from_server_version(version: str) -> Release | None:
    """The release that calls itself ``2.51.0``; None for a server that the table doesn't know.

    Another patch of a known minor version counts as that minor's latest release.
    """
    exact = [release for release in TABLE.values() if release.version == version]
    minor = [r for r in TABLE.values() if _minor(r.version) == _minor(version)]
    return exact[0] if exact else minor[-1] if minor else None


def onnx_limits(onnxruntime: str) -> OnnxLimits:
    """The newest opsets and IR version that this onnxruntime reads; those of the nearest older one measured."""
    own = _minor(onnxruntime)
    limits = [limit for first, limit in ONNXRUNTIME if first <= own]
    return limits[-1] if limits else ONNXRUNTIME[0][1]


def _minor(version: str) -> tuple[int, int]:
    """(2, 51) of ``2.51.0``; (0, 0) of what isn't a version."""
    parts = version.split(".")
    if len(parts) < 2 or not (parts[0].isdigit() and parts[1].isdigit()):
        return (0, 0)
    return int(parts[0]), int(parts[1])
