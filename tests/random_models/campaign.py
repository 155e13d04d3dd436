"""Random models through the whole job: each is optimized and published, and asked rows that its training never saw.

What it must answer is what the trained object answers, in the memory of the process that trained it: a file that has
lost something is seen only so.

python tests/random_models/campaign.py [--begin SEED] [--cases 300] [--kind xgboost|catboost|net] [--keep FOLDER]
A line a case; 1 where an answer was wrong, or a model was refused that is none of those that we say we refuse.
"""

from __future__ import annotations

import argparse
import os
import re
import sys
import tempfile
import time
import traceback
import warnings
from collections import Counter
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path[:0] = [str(HERE)] if str(HERE) not in sys.path else []

import numpy as np  # noqa: E402
from case import Maker, RandomCase, Rng, pick  # noqa: E402

import millwork  # noqa: E402
from millwork.commands.options import PredictOptions  # noqa: E402
from millwork.commands.predict import predict  # noqa: E402
from millwork.errors import MillworkError  # noqa: E402

REFUSALS: tuple[str, ...] = (
    "the model.s categories are integers, but those of",  # 00 is another category than 0, and input__1 takes integers
    "CatBoost.s JSON has lost tables of this model",
    "CatBoost reads a JSON of this model otherwise than it wrote it",
    "a leaf value is NaN, and so is XGBoost.s own answer",
    "the framework.s answers to all of the [0-9,]* rows are NaN",
)
"""What we say we don't take (docs/reference/models.md), as patterns of the messages."""

BACKENDS = ("native", "onnx", "fil", "tensor")
SHOWN = 5
DRAWS = 5


@dataclass(frozen=True)
class Outcome:
    """``kind``: same, refused, wrong (another answer than the framework's), broken (any other error)."""

    seed: int
    kind: str
    words: str
    why: str = ""
    seconds: float = 0.0

    @property
    def failed(self) -> bool:
        return self.kind in ("wrong", "broken")


TURNS = ("xgboost", "catboost", "xgboost", "catboost", "net")
"""Of which kind the seeds are, one after another; a net takes as long as three others."""


def makers() -> dict[str, Maker]:
    import catboost_cases
    import net_cases
    import xgboost_cases

    return {"xgboost": xgboost_cases.make, "catboost": catboost_cases.make, "net": net_cases.make}


def run(seed: int, folder: Path, kind: str = "") -> Outcome:
    """The case of ``seed`` from training to its answers, in ``folder``; of the kind whose turn it is, or ``kind``."""
    started = time.monotonic()
    rng = np.random.default_rng([seed, 18])
    kind = kind or TURNS[seed % len(TURNS)]
    maker = makers()[kind]
    case: RandomCase | None = None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            case = _made(maker, rng, folder)
            if case.export is not None:
                case.export()
            got = _served(case, rng, folder)
        ended = ("wrong", why) if (why := difference(case, got)) else ("same", "")
    except MillworkError as error:
        text = f"{type(error).__name__}: {error}"
        ended = ("refused" if any(re.search(one, text) for one in REFUSALS) else "broken", text)
    except Exception:  # noqa: BLE001 (whatever it is, it's what this looks for)
        ended = ("broken", traceback.format_exc()[-2000:])
    words = case.words if case else kind
    return Outcome(seed, ended[0], words, ended[1], time.monotonic() - started)


def _made(maker: Maker, rng: Rng, folder: Path) -> RandomCase:
    """What the framework itself refuses to train is drawn again."""
    for _ in range(DRAWS):
        try:
            return maker(rng, folder)
        except Exception:  # noqa: BLE001, S112 (each framework has errors of its own)
            continue
    return maker(rng, folder)


def _served(case: RandomCase, rng: Rng, folder: Path) -> np.ndarray:
    """Published by the whole job, and asked as ``millwork predict`` asks."""
    net = case.words.startswith("net")
    millwork.optimize(
        case.model,
        data=case.data if not isinstance(case.data, Path) else str(case.data),
        label=case.label,
        name="random",
        repository=str(folder / "repository"),
        run_dir=str(folder / "run"),
        triton="none",
        traffic="batch=1",
        backends=["reference", "onnx"] if net else [pick(rng, *BACKENDS), "reference"],
        **case.options,
    )
    answers = folder / "answers.npy"
    predict(
        PredictOptions(name="random", repository=str(folder / "repository"), rows=str(case.asked), answers=str(answers))
    )
    return np.load(answers)


def difference(case: RandomCase, got: np.ndarray) -> str:
    """Where ``got`` isn't what the framework answers, in a line; empty where it is."""
    expected = case.expected
    if got.shape != expected.shape:
        return f"{list(got.shape)} answers, the framework gives {list(expected.shape)}"
    finite = expected[np.isfinite(expected)]
    spread = float(finite.std()) if finite.size else 0.0
    with np.errstate(all="ignore"):
        allowed = case.precise * (spread + np.abs(expected)) + 1e-37
        close = np.abs(got - expected.astype(np.float32)) <= allowed
    same = close | (got == expected.astype(np.float32)) | (np.isnan(got) & np.isnan(expected))
    rows = np.flatnonzero(~same.all(axis=1))
    if not rows.size:
        return ""
    shown = "; ".join(f"row {i}: {got[i].tolist()} for {expected[i].tolist()}" for i in rows[:SHOWN])
    return f"{rows.size} of {len(got)} rows: {shown}"


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--begin", type=int, default=0)
    parser.add_argument("--cases", type=int, default=300)
    parser.add_argument("--kind", default="", choices=("", "xgboost", "catboost", "net"))
    parser.add_argument("--keep", type=Path)
    asked = parser.parse_args()
    os.environ.setdefault("PYTHONSAFEPATH", "1")
    ended: Counter[str] = Counter()
    for seed in range(asked.begin, asked.begin + asked.cases):
        with tempfile.TemporaryDirectory() as temporary:
            folder = Path(temporary) if asked.keep is None else asked.keep / str(seed)
            folder.mkdir(parents=True, exist_ok=True)
            found = run(seed, folder, asked.kind)
        ended[found.kind] += 1
        print(f"{seed} {found.kind} {found.seconds:.1f} s {found.words}", flush=True)  # noqa: T201
        if found.why:
            print("    " + found.why.replace("\n", "\n    "), flush=True)  # noqa: T201
    print(", ".join(f"{count} {kind}" for kind, count in ended.most_common()))  # noqa: T201
    return 1 if ended["wrong"] or ended["broken"] else 0


if __name__ == "__main__":
    sys.exit(main())
