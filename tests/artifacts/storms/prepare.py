"""Make the run directories of a storm: a few tiny models, each optimized under each name, and wrong ones.

    python tests/artifacts/storms/prepare.py FOLDER [--variants 3] [--names 5]

A process of its own: what trains has threads, and the storm forks.
"""

from __future__ import annotations

import argparse
import itertools
import json
import shutil
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path += [str(HERE.parents[1]), str(HERE.parent)]  # last: pytest finds conftest.py by this list, too

import numpy as np  # noqa: E402
import pandas as pd  # noqa: E402
import xgboost as xgb  # noqa: E402
from cryptography.hazmat.primitives import serialization  # noqa: E402
from cryptography.hazmat.primitives.asymmetric import ec  # noqa: E402
from models.jobs import millwork  # noqa: E402
from storms.known import (  # noqa: E402
    ANSWERS,
    DAMAGED,
    FILE,
    KEY,
    MISJUDGED,
    PUBLIC,
    ROWS,
    SIGNED,
    SWAPPED,
    sha256,
)

NAMES = (SIGNED, "plain", "other", "third", "fourth")
COLUMNS = list("abcd")
ASKED = 16
NEAREST = 1e-3
STRANGER = "stranger"
"""A model whose file is only ever found in the place of another's."""


def main() -> None:
    asked = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    asked.add_argument("folder", type=Path)
    asked.add_argument("--variants", type=int, default=3)
    asked.add_argument("--names", type=int, default=len(NAMES))
    words = asked.parse_args()
    prepare(words.folder.absolute(), words.variants, NAMES[: words.names])


def prepare(folder: Path, count: int, names: tuple[str, ...]) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    frame = pd.DataFrame(np.random.default_rng(0).normal(size=(200, len(COLUMNS))).astype("f4"), columns=COLUMNS)
    frame.to_parquet(folder / "rows.parquet")
    variants = [f"v{number}" for number in range(count)]
    answers = {name: trained(folder, frame, seed, name) for seed, name in enumerate([*variants, STRANGER])}
    for one, other in itertools.combinations(answers.values(), 2):
        assert np.abs(one - other).min() > NEAREST, "each row's answers tell whose they are"
    contents: dict[str, str] = {}
    for variant in (*variants, STRANGER):
        first = folder / f"{names[0]}-{variant}"
        for name in names if variant != STRANGER else names[:1]:
            run = folder / f"{name}-{variant}"
            if run != first:
                shutil.copytree(first, run)
            optimized(folder, variant, name, run)
        if variant != STRANGER:
            contents[sha256(model_file(chosen(first)))] = variant
    for name in names:
        wrong_ones(folder, name, variants[0])
    write(folder, names, contents, frame.to_numpy()[:ASKED], {variant: answers[variant] for variant in variants})


def write(
    folder: Path, names: tuple[str, ...], contents: dict[str, str], rows: np.ndarray, answers: dict[str, np.ndarray]
) -> None:
    """What is known of the run directories in ``folder``, and keys to sign by."""
    keys(folder)
    np.save(folder / ROWS, rows)
    np.savez(folder / ANSWERS, **answers)
    (folder / FILE).write_text(json.dumps({"names": names, "variants": list(answers), "contents": contents}))


def trained(folder: Path, frame: pd.DataFrame, seed: int, name: str) -> np.ndarray:
    """A model whose answers to each of the asked rows are no other's; its answers [N, 2]."""
    label = (frame.a * (seed + 1) + frame.b > 0.1 * seed).astype(int)
    model = xgb.XGBClassifier(n_estimators=4 + seed, max_depth=3, learning_rate=0.2 + 0.05 * seed, n_jobs=1)
    model.fit(frame, label)
    model.get_booster().save_model(folder / f"{name}.json")
    return np.asarray(model.predict_proba(frame.iloc[:ASKED]), np.float32)


def optimized(folder: Path, variant: str, name: str, run: Path) -> None:
    said = millwork(
        "optimize",
        folder / f"{variant}.json",
        *("--data", folder / "rows.parquet", "--repository", folder / "nowhere", "--name", name, "--dry-run"),
        *("--backends", "native", "--millwork-backend", "--triton", "none", "--traffic", "batch=1", "--run-dir", run),
    )
    if said.code:
        raise AssertionError(said.err)


def chosen(run: Path) -> Path:
    """The stage of what a run would publish first."""
    return run / "stages" / str(json.loads((run / "chosen.json").read_text())[0])


def model_file(stage: Path) -> Path:
    version = stage / "version"
    return version / str(json.loads((version / "manifest.json").read_text())["model_file"])


# ── wrong ones ────────────────────────────────────────────────────────────────────────────────────────────


def wrong_ones(folder: Path, name: str, variant: str, which: tuple[str, ...] = (DAMAGED, MISJUDGED, SWAPPED)) -> None:
    for wrong in which:
        run = folder / f"{name}-{wrong}"
        shutil.copytree(folder / f"{name}-{variant}", run)
        stage = chosen(run)
        if wrong == DAMAGED:
            damage(model_file(stage))
            continue
        if wrong == SWAPPED:
            model_file(stage).write_bytes(model_file(chosen(folder / f"{NAMES[0]}-{STRANGER}")).read_bytes())
        else:
            misjudge(stage / "version" / "golden.npz")
        forge(stage)


def damage(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 4
    path.write_bytes(content)


def misjudge(golden: Path) -> None:
    with np.load(golden) as found:
        arrays = {name: found[name] for name in found.files}
    arrays["y"] = arrays["y"] + np.float32(0.25)
    np.savez(golden, **arrays)


def forge(stage: Path) -> None:
    """Write the digests again, as whoever may write the run directory can."""
    manifest = stage / "version" / "manifest.json"
    said = json.loads(manifest.read_text())
    for entry in said["files"]:
        path = manifest.parent / entry["path"]
        entry.update(sha256=sha256(path), bytes=path.stat().st_size)
    manifest.write_text(json.dumps(said))
    done = json.loads((stage / "done").read_text())
    for entry in done["files"]:
        path = stage / entry["path"]
        entry.update(sha256=sha256(path), bytes=path.stat().st_size)
    (stage / "done").write_text(json.dumps(done))


def keys(folder: Path) -> None:
    private = ec.generate_private_key(ec.SECP256R1())
    (folder / KEY).write_bytes(
        private.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.TraditionalOpenSSL,
            serialization.NoEncryption(),
        )
    )
    (folder / PUBLIC).write_bytes(
        private.public_key().public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
    )


if __name__ == "__main__":
    main()
