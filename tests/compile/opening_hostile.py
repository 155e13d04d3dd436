"""Opens each file of a folder as it must not be opened, behind one layer or none, and says which of them got through.

    python opening_hostile.py FOLDER BEGIN OWN CANARY HOW

HOW: ``plainly`` (pickle.load, joblib.load), or ``allowed`` (the same, and ``find_class`` knows the allow-list only).
Files are ``NUMBER.pkl`` and ``NUMBER.joblib``; those before BEGIN are left out. The number of the file that is being
opened is in OWN/progress; OWN/through has those after which something was at CANARY. A file that takes longer than
SECONDS ends the process.
"""

from __future__ import annotations

import contextlib
import faulthandler
import importlib
import io
import os
import pickle
import resource
import shutil
import sys
from pathlib import Path

SECONDS = 2
MEMORY = 3 << 30


def main(folder: Path, begin: int, own: Path, canary: Path, how: str) -> None:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY, MEMORY))
    sys.stdin = open(os.devnull)  # noqa: SIM115, PTH123
    for name in ("joblib", "xgboost", "catboost", "sklearn.pipeline"):  # which take their time, once
        importlib.import_module(name)
    for path in sorted(folder.iterdir()):
        number = int(path.stem)
        if number < begin:
            continue
        (own / "progress").write_text(path.stem)
        faulthandler.dump_traceback_later(SECONDS, exit=True)
        with contextlib.suppress(BaseException), contextlib.redirect_stdout(io.StringIO()):
            loaded = opened(path, allowed=how == "allowed")
            if hasattr(loaded, "wait"):
                loaded.wait()
            if hasattr(loaded, "close"):
                loaded.close()
        faulthandler.cancel_dump_traceback_later()
        if os.path.lexists(canary):
            shutil.rmtree(canary) if canary.is_dir() and not canary.is_symlink() else canary.unlink()
            with (own / "through").open("a") as through:
                through.write(f"{path.stem}\n")


def opened(path: Path, *, allowed: bool) -> object:
    """What is in the file, by the library that people would take."""
    import joblib.numpy_pickle

    if allowed:
        joblib.numpy_pickle.NumpyUnpickler.find_class = find_class
    if path.suffix == ".joblib":
        return joblib.load(path)
    with path.open("rb") as file:
        return (_Allowed if allowed else pickle.Unpickler)(file).load()


def find_class(self: pickle.Unpickler, module: str, name: str) -> object:
    from millwork.compile.frontends.pickles.allowed import ALLOWED
    from millwork.compile.frontends.pickles.stubs import Symbol

    if Symbol(module, name) not in ALLOWED:
        raise pickle.UnpicklingError(f"{module}.{name}")
    return pickle._Unpickler.find_class(self, module, name)


class _Allowed(pickle._Unpickler):
    find_class = find_class


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]), sys.argv[5])
