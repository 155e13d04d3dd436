"""Damaged files of every format that is open to others: each is answered, or refused by one of our errors. Whatever
they do to the confined process that opens them, this one neither dies nor hangs nor grows.

500 of each here, fewer of nets, each of which takes as long as ten others; ``make fuzz`` has 10,000.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType

import pytest

from millwork.worker import sandbox

HERE = Path(__file__).parent
MUTANTS, OF_NETS = 500, 150


def _beside(name: str) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, HERE / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


campaign = _beside("campaign")


@pytest.mark.parametrize("name", campaign.formats.FORMATS)
def test_mutants_are_answered_or_refused(name: str, tmp_path: Path) -> None:
    if sandbox.missing():
        pytest.skip(sandbox.missing())
    mutants = OF_NETS if name in ("pt2", "weights") else MUTANTS
    found = campaign.run(name, tmp_path, mutants)
    tally = found.tally
    assert found.broken == []
    assert tally.read + tally.refused + tally.engine > mutants * 0.7  # the others died, or died with one that did
    assert tally.refused + tally.engine > mutants * 0.2  # they are damaged


def test_every_format_has_seeds_that_are_whole(tmp_path: Path) -> None:
    """Otherwise every mutant would be refused at its first byte."""
    for name, made in campaign.formats.FORMATS.items():
        folder = tmp_path / name
        folder.mkdir()
        for number, content in enumerate(campaign.seeds.SEEDS[name]()):
            path = folder / str(number) / f"model{made.suffix}"
            path.parent.mkdir()
            path.write_bytes(content)
            if name != "manifest" and b"unknown" not in content:  # whose files aren't there; a field of another release
                found = made.read(path)
                if made.engine is not None:
                    made.engine(path, found)
        assert list(folder.iterdir())


def test_the_same_number_is_the_same_mutant() -> None:
    seeds = [b"abc" * 50, b"xyz" * 50]
    first = [campaign.mutations.mutant(seeds, number) for number in range(200)]
    assert first == [campaign.mutations.mutant(seeds, number) for number in range(200)]
    assert len(set(first)) > 150
