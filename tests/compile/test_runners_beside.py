"""Runners beside an artifact: files in a folder, and no package of ours."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from millwork.artifacts import package_code
from millwork.compile.runners import load

FOLDER = Path(load.__file__).parent
RUNNERS = sorted(path.stem for path in FOLDER.glob("*_runner.py"))
SERVED = """
import sys
sys.path += sys.argv[1:]  # the artifact's folder last, as Triton has it
import model
assert "millwork" not in sys.modules
print(sys.modules["millwork_runner"].__file__, sys.modules["labels"].__file__)
"""


def flat_imports(name: str) -> set[str]:
    """Files of the runners' folder that the runner imports where there is no package."""
    tree = ast.parse((FOLDER / f"{name}.py").read_text())
    found: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(node.module or "")
    return {file for file in found if (FOLDER / f"{file}.py").is_file()}


@pytest.mark.parametrize("name", RUNNERS)
def test_what_a_runner_imports_is_copied_with_it(name: str) -> None:
    """native-cuda's own modules are among its artifact's files."""
    own = {file for file in flat_imports(name) if not file.startswith("cuda_")}
    assert own == {path.stem for path in load.beside(name)}


@pytest.mark.parametrize("name", ["catboost_runner", "native_runner", "treelite_runner", "xgboost_runner"])
def test_an_artifact_brings_its_own(name: str, tmp_path: Path) -> None:
    """Also where a package of the same name is installed."""
    installed, own = tmp_path / "installed", tmp_path / "own"
    installed.mkdir(), own.mkdir()
    (installed / "labels.py").write_text("")
    (installed / "triton_python_backend_utils.py").write_text("")  # Triton's, which nothing of it is asked here
    shutil.copy(package_code.MODEL_PY, own)
    shutil.copy(load.source(name), own / package_code.RUNNER_FILE)
    for path in load.beside(name):
        shutil.copy(path, own)
    done = subprocess.run([sys.executable, "-P", "-c", SERVED, installed, own], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [str(own / package_code.RUNNER_FILE), str(own / "labels.py")]
