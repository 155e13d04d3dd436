"""What README and docs say is so: commands, options, exit codes, objectives, the snippet of a training script."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from millwork import errors
from millwork.cli.app import COMMANDS, millwork
from millwork.compile.frontends import objectives

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text()
CLI = (ROOT / "docs" / "cli.md").read_text()
PAGES = sorted([ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *(ROOT / "docs").glob("*.md")])


def test_every_option_of_optimize_is_in_the_docs_and_no_other():
    options = {
        name for param in millwork.get_command(None, "optimize").params for name in param.opts if name.startswith("--")
    }
    documented = set(re.findall(r"--[a-z][a-z-]+", CLI.split("## Exit codes")[0].split("## optimize")[1]))
    assert documented >= options
    assert documented <= options


def test_every_command_is_in_the_docs_and_no_other():
    named = set(re.findall(r"`millwork ([a-z]+)", CLI + README))
    assert named == set(COMMANDS) | (named & {"optimize"})
    assert set(millwork.list_commands(None)) == set(COMMANDS)


def test_exit_codes_are_the_errors_own():
    documented = {int(code): name for code, name in re.findall(r"^\| (\d+) \|.*\| `(\w+Error)` \|$", CLI, re.MULTILINE)}
    assert documented == {kind.exit_code: kind.__name__ for kind in errors.BY_NAME.values()}


def test_the_readme_lists_the_objectives_of_the_tables():
    for row, table in (("XGBoost objectives", objectives.XGBOOST), ("CatBoost losses", objectives.CATBOOST)):
        line = next(line for line in README.splitlines() if line.startswith(f"| {row} |"))
        assert set(table) <= set(re.findall(r"[A-Za-z]+(?::[a-z]+)?", line))


@pytest.mark.parametrize("page", PAGES, ids=lambda path: path.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#]+)\)", page.read_text()):
        assert (page.parent / target).exists(), target


def test_the_training_scripts_snippet_runs(tmp_path, monkeypatch, capsys):
    """As it stands in the README, but published unverified, so that it needs no server."""
    import xgboost

    snippet = README.split("```python")[1].split("```")[0]
    snippet = snippet.replace('name="churn"', 'name="churn", triton="none"')
    monkeypatch.chdir(tmp_path)
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(rng.normal(size=(300, 3)).astype(np.float32), columns=["age", "income", "visits"])
    frame["y"] = (frame["age"] > 0).astype(int)
    model = xgboost.XGBClassifier(n_estimators=3, max_depth=2).fit(frame[["age", "income", "visits"]], frame["y"])
    exec(snippet, {"model": model, "frame": frame})  # noqa: S102 -- the README is ours
    winner, version = capsys.readouterr().out.split()
    assert winner.endswith("-fp32")
    assert version == "1"
    assert (tmp_path / "models" / "churn" / "1" / "manifest.json").exists()
