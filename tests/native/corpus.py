"""Small packed forests of every kind, for the fuzzer to begin with; two have trees enough for threads to share them.

python tests/native/corpus.py FOLDER
"""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from models.encoders import random_program
from models.forests import program_of, random_forest

from millwork.compile.backends.native import cpu_file

POSTPROCESS = {
    1: ("identity", "binary", "hinge", "exp"),
    2: ("softmax", "mean-variance", "sort"),
    3: ("sigmoid", "softmax"),
}


def main() -> None:
    folder = Path(sys.argv[1])
    folder.mkdir(parents=True, exist_ok=True)
    for seed in range(24):
        outputs = seed % 3 + 1
        forest = random_forest(
            seed,
            trees=1 + seed % 11,
            depth=seed % 9,
            features=2 + seed % 5,
            categorical=seed % 3,
            outputs=outputs,
            vector_leaves=seed % 2 == 1,
            comparison=("<", "<=")[seed % 2],
            dtype=(np.float32, np.float64)[seed // 2 % 2],
        )
        kinds = POSTPROCESS[outputs]
        cpu_file.write(program_of(forest, kinds[seed % len(kinds)]), folder / f"forest-{seed:02}.packed")
    for outputs in (1, 3):
        forest = random_forest(outputs, trees=300, depth=1, outputs=outputs)
        cpu_file.write(program_of(forest, "softmax"), folder / f"many-{outputs}.packed")
    for seed in range(16):
        program, _, _ = random_program(seed, integer=seed % 2 == 1)
        cpu_file.write(program, folder / f"encoders-{seed:02}.packed")


if __name__ == "__main__":
    main()
