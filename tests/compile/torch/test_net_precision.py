"""Every kind of net in fp16 and int8: how far from fp32 each is, and what has to be kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import onnx
import pytest
from models.nets import KINDS

from millwork.compile.frontends.torch import net as frontend
from millwork.compile.precision import fp16, int8, layers, mixed
from millwork.compile.precision.gap import USUAL, judge
from millwork.compile.precision.lowering import Lowering
from millwork.compile.precision.rows import apart
from millwork.compile.precision.run_graph import some
from millwork.passes import base, pass_table
from millwork.passes.graph.precision import census
from millwork.passes.net import CODES, NUMBERS
from millwork.values import Provenance

WHERE = Provenance(path="net.pt2", format="torch-pt2", sha256="", framework="torch", framework_version="")

FP16_ERROR, INT8_ERROR = 5e-4, 0.03
"""Of the outputs' standard deviation, root mean square: fp16 was measured at 7e-5 to 2.5e-4, int8 at 0.003 to 0.017."""

SENSITIVE = {"tabnet"}
"""A tenth and more of an error wherever int8 is: its masks are thresholds. Some of its layers have to be kept; as some
machines train it, none."""


@pytest.mark.parametrize("kind", KINDS)
def test_each_kind_of_net_in_each_precision(kind: str, exported: Callable[[str], Path], tmp_path: Path) -> None:
    net = KINDS[kind]()
    loaded = frontend.load(exported(kind).read_bytes(), WHERE).program
    graph = base.run(pass_table.NET_LOWERING, loaded.graph).program
    feeds = {NUMBERS: net.x} | ({} if net.codes is None else {CODES: net.codes})
    calibration, judging = (some(feeds, which) for which in apart(len(net.x)))
    for precision, prepare, most in (("fp16", fp16.prepare, FP16_ERROR), ("int8", int8.prepare, INT8_ERROR)):
        made = prepare(graph, calibration, tmp_path)
        assert isinstance(made, Lowering), made
        judged = judge(made.model, judging, USUAL[precision], loaded.interface.answer)
        found = mixed.search(
            lambda: layers.sensitivity(made, judged),  # noqa: B023 (asked for within this turn)
            lambda kept: layers.measured(made, kept, judged),  # noqa: B023
            USUAL[precision].holds,
        )
        assert found is not None
        assert not found.kept or kind in SENSITIVE, found
        if kind not in SENSITIVE:
            assert found.gap.error <= most
        typed = census(made.typed(found.kept))
        meant = {layer.name for layer in made.layers} - found.kept
        assert {name for name, own in typed.products.items() if own == precision} == meant
        assert meant
        attention = {name for name in made.excluded if precision == "fp16"}
        assert not attention or kind == "dlrm", "products of codes' embeddings are large there"
        onnx.checker.check_model(made.typed(found.kept), full_check=True)
