"""The models of benchmarks/gpu/run.py, with what they must answer: needs millwork and its test models, and no GPU.

    python benchmarks/gpu/make_models.py FOLDER [--large]

Of each forest: the Treelite checkpoint, the file of our CUDA kernel, XGBoost's own file, and expected.npz: rows float32
[N, F] (adversarial ones of the gate), answers float32 [N, K] of XGBoost itself, and the leaf of each row in each tree
as a row of the lowered node table (leaf_rows) and within its tree (tree_leaves). Of the net: model.onnx in fp32,
net.pt2, and expected.npz of rows and of torch's answers. ``--large`` adds 2,000 trees of depth 8 (minutes).
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import warnings
from pathlib import Path

import numpy as np

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests"))

ROWS = 1500
FORESTS = {"small": (50, 4, 20), "forest-500x6": (500, 6, 50)}
LARGE = {"forest-2000x8": (2000, 8, 50)}
"""Trees, depth, features."""


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--large", action="store_true")
    parser.add_argument("--only", default="", help="names of models, comma-separated")
    asked = parser.parse_args()
    wanted = FORESTS | (LARGE if asked.large else {})
    only = set(filter(None, asked.only.split(",")))
    for name, shape in wanted.items():
        if not only or name in only:
            forest(asked.folder / name, *shape)
    if not only or "net" in only:
        net(asked.folder / "net")


def forest(folder: Path, trees: int, depth: int, features: int) -> None:
    import xgboost as xgb
    from models.gate import gate

    from millwork import triton_releases
    from millwork.compile.backends.fil import cpu
    from millwork.compile.backends.native import cuda_file
    from millwork.validators import gate_steps as gating

    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    rows = rng.normal(size=(20_000, features)).astype(np.float32)
    rows[rng.random(rows.shape) < 0.02] = np.nan
    label = (np.nansum(rows[:, :5], axis=1) + np.nan_to_num(rows[:, 5] * rows[:, 6]) > 0).astype(np.float32)
    setting = {"objective": "binary:logistic", "max_depth": depth, "eta": 0.05, "tree_method": "hist", "nthread": 2}
    xgb.train(setting, xgb.DMatrix(rows, label), trees).save_model(folder / "model.json")
    with tempfile.TemporaryDirectory() as scratch:
        found = gate(folder / "model.json", Path(scratch) / "gate", limit=ROWS)
        lowered = found.lowered
        leaf_map = np.load(found.folder / "leaf_map.npy")
        leaf_rows = gating.expected_leaves(found.program, leaf_map, found.leaves)
        np.savez_compressed(
            folder / "expected.npz",
            rows=found.rows,
            answers=found.answers,
            leaf_rows=leaf_rows,
            tree_leaves=(leaf_rows - lowered.forest.tree_start[:-1]).astype(np.int32),
        )
    with (folder / "checkpoint.tl").open("wb") as file:
        cpu.write(lowered, triton_releases.find("25.12").treelite, file)
    cuda_file.write(lowered, folder / "forest.cuda")
    card = {"kind": "forest", "features": features, "answer": lowered.postprocess, "trees": trees, "depth": depth}
    (folder / "card.json").write_text(json.dumps(card))


def net(folder: Path) -> None:
    import torch
    from models import nets

    folder.mkdir(parents=True)
    made = nets.mlp()
    batch = torch.export.Dim("batch", min=1, max=1 << 20)
    given = torch.from_numpy(np.ascontiguousarray(made.x[:64]))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        program = torch.export.export(made.module, (given,), dynamic_shapes=({0: batch},))
        torch.export.save(program, folder / "net.pt2")
        torch.onnx.export(
            program,
            (given,),
            folder / "model.onnx",
            dynamo=True,
            verbose=False,
            external_data=False,
            input_names=["input__0"],
            output_names=["output__0"],
            opset_version=20,
        )
    with torch.inference_mode():
        answers = made.module(torch.from_numpy(made.x)).reshape(len(made.x), -1).numpy()
    np.savez_compressed(folder / "expected.npz", rows=made.x, answers=answers)
    (folder / "card.json").write_text(json.dumps({"kind": "net", "features": made.x.shape[1], "answer": "raw"}))


if __name__ == "__main__":
    main()
