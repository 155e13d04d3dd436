"""What nets.py times, of one kind of net: trained, exported, lowered, compiled by AOTInductor. A process of its own.

    python nets_made.py KIND FOLDER

FOLDER then has net.pt2, rows.npz (X, and C where the net takes codes), aotinductor.pt2, an onnx-PRECISION.onnx for
each precision that our passes make, and made.json, which says what each is, or why there is none.
"""

from __future__ import annotations

import json
import sys
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import onnx

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests"))

from models.nets import KINDS, Net

import millwork
from millwork import triton_releases
from millwork.compile.backends.onnx.net_graph import finished
from millwork.compile.frontends.torch import net as frontend
from millwork.compile.precision import precision_steps as precision
from millwork.compile.precision.gap import USUAL
from millwork.compile.precision.rows import apart
from millwork.passes import base, pass_table
from millwork.passes import net as nets
from millwork.passes.net import CODES, NUMBERS
from millwork.values import Provenance

ROWS = 4096
WHERE = Provenance(path="net.pt2", format="torch-pt2", sha256="", framework="torch", framework_version="")
RELEASE = "24.10"


def made(kind: str, folder: Path) -> dict[str, Any]:
    """The files in ``folder``, the working folder; what made.json says."""
    net = KINDS[kind]()
    path = millwork.save_net(net.module, net.arguments, folder / "net.pt2", task=net.task)  # type: ignore[arg-type]
    loaded = frontend.load(path.read_bytes(), WHERE).program
    graph = base.run(pass_table.NET_LOWERING, loaded.graph).program
    own = nets.Net(graph, loaded.interface, loaded.guard)
    _rows(net, folder)
    found: dict[str, Any] = {
        "kind": kind,
        "answer": loaded.interface.answer,
        "features": loaded.interface.features,
        "parameters": own.parameters,
        "files": {},
        "notes": {},
        "absent": {},
    }
    _save(own, "fp32", found)
    for name in ("fp16", "int8"):
        reply = _lowered(net, own, name, folder)
        if reply.refused or reply.note is None:
            found["absent"][name] = reply.refused
            continue
        found["notes"][name] = reply.note.summary
        _save(nets.Net(onnx.load_model(folder / precision.TYPED_FILE), own.interface, own.guard), name, found)
    try:
        found["aotinductor_s"] = _aotinductor(folder)
        found["files"]["aotinductor"] = "aotinductor.pt2"
    except Exception as error:  # noqa: BLE001 (whatever it throws is what is reported)
        found["absent"]["aotinductor"] = f"{type(error).__name__}: {str(error).splitlines()[0][:300]}"
    return found


def _rows(net: Net, folder: Path) -> None:
    """Rows of the net's own table, drawn again, a little moved."""
    rng = np.random.default_rng(0)
    which = rng.integers(0, len(net.x), ROWS)
    numbers = net.x[which] + 0.01 * net.x.std(axis=0) * rng.normal(size=(ROWS, net.x.shape[1]))
    codes = {} if net.codes is None else {"C": net.codes[which]}
    np.savez(folder / "rows.npz", X=numbers.astype(np.float32), **codes)  # type: ignore[arg-type]


def _save(net: nets.Net, name: str, found: dict[str, Any]) -> None:
    model = base.run(pass_table.FOR_CPU, finished(net, triton_releases.find(RELEASE))).program
    onnx.save_model(model, f"onnx-{name}.onnx")
    found["files"][name] = f"onnx-{name}.onnx"


def _lowered(net: Net, own: nets.Net, name: str, folder: Path) -> precision.PrecisionReply:
    onnx.save_model(own.graph, folder / "graph.onnx")
    feeds = {NUMBERS: net.x} | ({} if net.codes is None else {CODES: net.codes})
    for file, which in zip(("calibration", "judging"), apart(len(net.x)), strict=True):
        np.savez(folder / f"{file}.npz", **{key: values[which] for key, values in feeds.items()})  # type: ignore[arg-type]
    request = precision.PrecisionRequest(
        graph=str(folder / "graph.onnx"),
        precision="fp16" if name == "fp16" else "int8",
        calibration=str(folder / "calibration.npz"),
        judging=str(folder / "judging.npz"),
        limit=USUAL[name],
        answer=own.interface.answer,
        symmetric=False,  # as for a CPU target
    )
    return precision.lower(request)


def _aotinductor(folder: Path) -> float:
    """Compiled, where it isn't yet: the seconds that took."""
    before = folder / "made.json"
    if (folder / "aotinductor.pt2").is_file() and before.is_file():
        return float(json.loads(before.read_text())["aotinductor_s"])
    import torch

    began = time.perf_counter()
    program = torch.export.load(folder / "net.pt2")
    torch._inductor.aoti_compile_and_package(program, package_path=str(folder / "aotinductor.pt2"))  # noqa: SLF001
    return round(time.perf_counter() - began, 1)


if __name__ == "__main__":
    import os

    warnings.simplefilter("ignore")
    os.chdir(sys.argv[2])
    Path("made.json").write_text(json.dumps(made(sys.argv[1], Path.cwd()), indent=1))
