"""Reads each model of a folder in the sandbox that a run reads it in, one process for all of them: what a framework's
loader may not do there is only seen there.

    python reading_confined.py FOLDER OWN

OWN/said.json: for each file what it was read as, or the error that a user gets.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from millwork.compile.frontends.read import read
from millwork.errors import ModelError


def main(folder: Path, own: Path) -> None:
    said = {}
    for path in sorted(folder.iterdir()):
        try:
            signature = read(path, own).signature
            said[path.name] = f"{signature.provenance.framework} {signature.objective}"
        except ModelError as error:
            said[path.name] = f"refused: {error.message.removeprefix(f'{path}: ')}"
        (own / "said.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
