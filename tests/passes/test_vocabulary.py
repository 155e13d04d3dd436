"""What every pass of either family keeps to: claims are checked, a failure names its pass, a spec reads back."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import onnx
import pytest
from models.forests import program_of, random_forest
from onnx import TensorProto, helper

from millwork.errors import InternalError, UsageError
from millwork.passes import pass_table
from millwork.passes.base import UntilStable, run
from millwork.passes.graph.graph_pass import GraphPass, GraphRewrite
from millwork.passes.program import Program
from millwork.passes.trees.tree_pass import TreePass, TreeRewrite, leaf_map, same_leaves, unchanged


def graph(operator: str = "Relu") -> onnx.ModelProto:
    inner = helper.make_graph(
        [helper.make_node(operator, ["x"], ["y"])],
        "net",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["N", 2])],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 2])],
    )
    return helper.make_model(inner, opset_imports=[helper.make_opsetid("", 18)], ir_version=8)


class Liar(TreePass):
    """Promises what it doesn't do."""

    name: ClassVar[str] = "liar"

    def ensures(self, program: Program) -> str | None:
        return "all trees gone"

    def apply(self, program: Program) -> TreeRewrite:
        return unchanged(program, "nothing")


class Picky(Liar):
    name: ClassVar[str] = "picky"

    def requires(self, program: Program) -> str | None:
        return "a program of one tree"


class Clumsy(TreePass):
    """Makes a forest that is none."""

    name: ClassVar[str] = "clumsy"

    def apply(self, program: Program) -> TreeRewrite:
        columns = program.forest.replacing(left=np.zeros_like(program.forest.left))
        return TreeRewrite(replace(program, forest=columns), True, "all roads lead to the root", same_leaves(program))


class Broken(TreePass):
    name: ClassVar[str] = "broken"

    def apply(self, program: Program) -> TreeRewrite:
        raise ZeroDivisionError("by no tree")


@dataclass(frozen=True)
class Misspelt(GraphPass):
    """Writes an operator that ONNX doesn't have."""

    name: ClassVar[str] = "misspelt"

    def apply(self, program: onnx.ModelProto) -> GraphRewrite:
        return GraphRewrite(graph("Rleu"), True, "another operator")


@pytest.mark.parametrize(
    ("step", "says"),
    [
        (Liar(), "pass liar ensures: all trees gone"),
        (Picky(), "pass picky requires: a program of one tree"),
        (Clumsy(), "pass clumsy made something invalid: a node points at a child in another tree"),
    ],
    ids=["liar", "picky", "clumsy"],
)
def test_a_pass_on_trees_that_breaks_its_word_is_named(step: TreePass, says: str) -> None:
    program = program_of(random_forest(1))
    with pytest.raises(InternalError, match=f"{says}; passes that ran before it: fold-missing"):
        run([pass_table.PASSES["fold-missing"], step], program)


def test_a_pass_on_graphs_that_breaks_its_word_is_named() -> None:
    with pytest.raises(InternalError, match=r"pass misspelt made something invalid: (?s:.)*Rleu(?s:.)*before it: tidy"):
        run([pass_table.GRAPH_PASSES["tidy"], Misspelt()], graph())


def test_an_error_within_a_pass_says_where_it_was_raised() -> None:
    with pytest.raises(ZeroDivisionError) as caught:
        run([pass_table.PASSES["fold-missing"], Broken()], program_of(random_forest(1)))
    assert caught.value.__notes__ == ["in pass broken; passes that ran before it: fold-missing"]


def test_every_pass_is_noted_under_its_spec() -> None:
    program = program_of(random_forest(1))
    notes = run(pass_table.LOWERING, program).notes
    assert [note.name for note in notes] == [step.spec for step in pass_table.LOWERING]
    assert notes[2].name == "until-stable(drop-unreachable,merge-equal-leaves)"
    assert [note.name for note in run(pass_table.FOR_CPU, graph()).notes] == [step.spec for step in pass_table.FOR_CPU]


def test_a_sequence_of_no_pass_changes_nothing() -> None:
    program = program_of(random_forest(1))
    result = run((), program)
    assert (result.program, result.notes) == (program, ())
    assert leaf_map(program, result.rewrites).tolist() == list(range(program.forest.n_nodes))


def test_rewrites_in_a_row_are_one_rewrite() -> None:
    """Until-stable says what its rounds did, and where they left each leaf."""
    program = program_of(random_forest(3, trees=20, depth=7))
    steps = (pass_table.PASSES["drop-unreachable"], pass_table.PASSES["merge-equal-leaves"])
    whole = UntilStable(steps).apply(program)
    rounds = run(steps * 20, program)
    said = [note.summary for note in rounds.notes if note.modified]
    assert len(said) > 1
    assert whole.summary == "; ".join(said)
    assert np.array_equal(whole.leaf_map, leaf_map(program, rounds.rewrites))
    assert np.array_equal(whole.program.forest.feature, rounds.program.forest.feature)


def test_passes_that_never_settle_are_a_bug() -> None:
    class Restless(TreePass):
        name: ClassVar[str] = "restless"

        def apply(self, program: Program) -> TreeRewrite:
            return TreeRewrite(program, True, "nothing, again", same_leaves(program))

    with pytest.raises(InternalError, match=r"the passes of until-stable\(restless\) still change the program"):
        UntilStable((Restless(),), limit=3).apply(program_of(random_forest(1)))


@pytest.mark.parametrize("passes", [pass_table.LOWERING, tuple(pass_table.PASSES.values())], ids=["lowering", "all"])
def test_a_spec_of_passes_on_trees_prints_and_parses_back(passes: tuple[pass_table.OfTrees, ...]) -> None:
    assert pass_table.parse(pass_table.spec(passes)) == passes


@pytest.mark.parametrize(
    "passes",
    [
        pass_table.NET_LOWERING,
        pass_table.FOR_CPU,
        pass_table.WRITTEN,
        tuple(pass_table.GRAPH_PASSES.values()),
        (UntilStable(pass_table.FOR_CPU), *pass_table.WRITTEN),
    ],
    ids=["nets", "for CPUs", "written", "all", "until stable"],
)
def test_a_spec_of_passes_on_graphs_prints_and_parses_back(passes: tuple[pass_table.OfGraphs, ...]) -> None:
    assert pass_table.parse_graph(pass_table.spec(passes)) == passes


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("slice-iterations,drop-everything", "unknown pass 'drop-everything'"),
        ("tidy", "unknown pass 'tidy'"),
        ("until-stable()", r"until-stable\(\) must name at least one pass"),
        ("until-stable(fold-missing", r"unknown pass 'until-stable\(fold-missing'"),
        ("until-stable(fold-missing,nothing)", "unknown pass 'nothing'"),
    ],
)
def test_a_spec_that_names_no_pass_is_refused(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        pass_table.parse(text)


def test_no_two_passes_have_one_name() -> None:
    assert not pass_table.PASSES.keys() & pass_table.GRAPH_PASSES.keys()
    with pytest.raises(InternalError, match="two passes have the same spec: liar,liar"):
        pass_table.by_spec(Liar(), Liar())
