"""Live modules as users have them: what they hold, how they are called, and answers that depend on more than rows."""

from __future__ import annotations

import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from pytorch_tabnet.tab_network import TabNet
from torch import nn
from torch.nn import functional

import millwork
from millwork import triton_releases
from millwork.compile.backends.onnx.net_graph import finished
from millwork.compile.frontends.torch import arguments, export, modules, to_onnx
from millwork.compile.frontends.torch import net as frontend
from millwork.errors import ModelError
from millwork.values import Provenance

WHERE = Provenance(path="net.pt2", format="torch-pt2", sha256="", framework="torch", framework_version="")
ROWS, CODES = torch.randn(8, 3), torch.arange(16).reshape(8, 2) % 5


# ── what a module holds ───────────────────────────────────────────────────────────────────────────────────


class Keeps(nn.Module):
    """Its last activation, as many do that draw it."""

    def __init__(self) -> None:
        super().__init__()
        self.inner, self.head = nn.Linear(3, 4), nn.Linear(4, 1)
        self.last: torch.Tensor | None = None
        self.seen: list[torch.Tensor] = []

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.last = torch.relu(self.inner(x))
        self.seen.append(self.last)
        return self.head(self.last)


def _keeps() -> nn.Module:
    module = Keeps()
    module(ROWS)
    return module


def _normed(norm: Callable[..., nn.Module]) -> nn.Module:
    module = nn.Sequential(norm(nn.Linear(3, 4)), nn.Linear(4, 1))
    module(ROWS)
    return module


def _holding(value: Any) -> nn.Module:
    module = nn.Sequential(nn.Linear(3, 4), nn.Linear(4, 1))
    module[0].held = value
    return module


@pytest.mark.filterwarnings("ignore:.*weight_norm:FutureWarning")
@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize(
    "make",
    [
        _keeps,
        lambda: _normed(nn.utils.weight_norm),  # type: ignore[arg-type]
        lambda: _normed(nn.utils.spectral_norm),  # type: ignore[arg-type]
        lambda: _holding(threading.Lock()),
        lambda: _holding({"deep": [(n for n in range(3))]}),
        lambda: _holding([threading]),
        lambda: torch.compile(_holding(None)),
        lambda: nn.DataParallel(_keeps()),
    ],
    ids=["activation", "weight_norm", "spectral_norm", "lock", "generator", "python-module", "compiled", "parallel"],
)
def test_whatever_a_module_holds_it_is_exported_and_left_as_it_was(make: Callable[[], nn.Module]) -> None:
    module = make()
    inner = modules.unwrapped(module)
    inner.train()
    next(iter(inner.children())).eval()
    loss = inner(ROWS).sum()
    loss.backward()
    parts = [(part, part.training, dict(vars(part))) for part in inner.modules()]
    seen = list(getattr(inner, "seen", []))
    gradients = [None if p.grad is None else p.grad.clone() for p in inner.parameters()]
    made = export.export(module, ROWS)
    for part, training, attributes in parts:
        assert part.training is training
        assert {name: id(value) for name, value in vars(part).items()} == {
            name: id(value) for name, value in attributes.items()
        }
    assert len(getattr(inner, "seen", [])) == len(seen)
    for parameter, gradient in zip(inner.parameters(), gradients, strict=True):
        assert parameter.requires_grad
        assert (parameter.grad is None) is (gradient is None)
    inner.eval()
    with torch.no_grad():
        assert torch.allclose(made.program.module()(ROWS), inner(ROWS), atol=1e-6)


class Uncopied(nn.Linear):
    def __deepcopy__(self, memo: Any) -> nn.Module:
        raise RuntimeError("no copies of me")


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (nn.Sequential(nn.Linear(3, 3), Uncopied(3, 1)), r"'1' \(Uncopied\) can't be copied: no copies of me"),
        (nn.Sequential(nn.LazyLinear(4), nn.Linear(4, 1)), r"'0.weight' has no shape yet"),
        (nn.Linear(3, 1, device="meta"), "'weight' is on the device meta"),
        (nn.Linear(3, 1).double(), "weights are float64"),
        (nn.Linear(3, 1).half(), "weights are float16"),
        (nn.Linear(3, 1).bfloat16(), r"weights are bfloat16(.|\n)*Call .float\(\)"),
    ],
)
def test_a_module_that_cannot_be_exported_is_refused_by_the_parts_name(module: nn.Module, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        export.export(module, ROWS)


@pytest.mark.filterwarnings("ignore:.*torch.jit:DeprecationWarning")
@pytest.mark.parametrize("make", [torch.jit.script, lambda module: torch.jit.trace(module, ROWS)])
def test_torchscript_is_refused_by_its_name_also_as_a_part(make: Any) -> None:
    with pytest.raises(ModelError, match=r"'0' \(Linear\) is TorchScript"):
        export.export(nn.Sequential(make(nn.Linear(3, 1))), ROWS)


# ── how it is called ──────────────────────────────────────────────────────────────────────────────────────


class Optional(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear, self.table = nn.Linear(3, 1), nn.Embedding(5, 1)

    def forward(self, x_num: torch.Tensor | None, x_cat: torch.Tensor | None = None) -> Any:
        numbers = self.linear(x_num) if x_num is not None else 0
        return numbers + self.table(x_cat).sum(1) if x_cat is not None else numbers


class OfBatch(Optional):
    def forward(self, batch: Any) -> Any:  # type: ignore[override]
        given = batch if isinstance(batch, list | tuple) else (batch["numbers"], batch.get("codes"))
        return super().forward(*given)


@pytest.mark.parametrize(
    ("module", "example", "wanted"),
    [
        (Optional(), (ROWS, None), (ROWS,)),
        (Optional(), (None, CODES), (CODES,)),
        (Optional(), {"x_cat": CODES.numpy(), "x_num": ROWS.numpy()}, (CODES, ROWS)),
        (Optional(), {"x_num": ROWS, "x_cat": None}, (ROWS,)),
        (Optional(), (pd.DataFrame(ROWS.numpy()), pd.DataFrame(CODES.numpy())), (ROWS, CODES)),
        (OfBatch(), {"numbers": ROWS, "codes": CODES}, (ROWS, CODES)),
        (OfBatch(), {"batch": {"numbers": ROWS, "codes": None}}, (ROWS,)),
        (OfBatch(), ([ROWS, CODES],), (ROWS, CODES)),
    ],
)
def test_an_example_is_read_as_the_module_takes_it(module: nn.Module, example: Any, wanted: Any) -> None:
    module.eval()
    made = export.export(module, example)
    with torch.no_grad():
        answers = made.program.module()(*wanted)
    given = arguments.of(module, example)
    assert all(torch.equal(got, want) for got, want in zip(given.tensors, wanted, strict=True))
    called = arguments.applied(module, given)(*(t.flip(0) for t in wanted)).detach()
    with torch.no_grad():
        assert torch.allclose(made.program.module()(*(t.flip(0) for t in wanted)), called, atol=1e-6)
    assert not torch.equal(answers, called)


@pytest.mark.parametrize(
    ("module", "example", "said"),
    [
        (Optional(), {"numbers": ROWS, "x_cat": CODES}, "don't name forward's arguments"),
        (nn.Bilinear(3, 3, 1), {"left": ROWS}, r"the example has 'left', but the module's forward takes \(input1"),
        (nn.Linear(3, 1), (ROWS, None), r"the example has 2 arguments, but the module's forward takes \(input\)"),
        (nn.Linear(3, 1), None, "an example of the net's inputs is missing"),
        (nn.Linear(3, 1), {}, "an example of the net's inputs is missing"),
        (nn.Linear(3, 1), pd.DataFrame({"a": ["x", "y"]}), "argument 1 is no array of numbers"),
        (Optional(), (None, CODES + 9), "(?s)index out of range.*whose codes are all in the module's tables"),
        (OfBatch(), {"numbers": ROWS, "codes": CODES[:4]}, "as many rows as one another"),
        (nn.Bilinear(3, 3, 1), (ROWS, ROWS), "two tensors of numbers"),
    ],
)
def test_an_example_that_the_module_does_not_take_is_refused(module: nn.Module, example: Any, said: str) -> None:
    with pytest.raises(ModelError, match=said):
        export.export(module, example)


# ── answers that depend on more than the rows ─────────────────────────────────────────────────────────────


class Noisy(nn.Module):
    def __init__(self, noise: Callable[[torch.Tensor], torch.Tensor]) -> None:
        super().__init__()
        self.linear, self.noise = nn.Linear(3, 1), noise

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.noise(x))


class LeftOn(nn.Module):
    """A layer that goes on training in evaluation, as for Monte-Carlo dropout."""

    def __init__(self, layer: nn.Module) -> None:
        super().__init__()
        self.linear, self.layer = nn.Linear(3, 1), layer

    def train(self, mode: bool = True) -> LeftOn:
        super().train(mode)
        self.layer.train()
        return self

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.linear(self.layer(x))


class Counts(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(3, 1)
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        return self.linear(x)


@pytest.mark.parametrize(
    ("module", "said"),
    [
        (Noisy(lambda x: functional.dropout(x, 0.1)), "answers differ from call to call"),
        (Noisy(lambda x: x + 1e-3 * torch.randn_like(x)), "answers differ from call to call"),
        (Noisy(lambda x: x + float(np.random.default_rng().normal())), "answers differ from call to call"),
        (LeftOn(nn.Dropout(0.5)), r"'layer' \(Dropout\) is still in training mode(.|\n)*differ from call to call"),
        (LeftOn(nn.BatchNorm1d(3)), r"'layer' \(BatchNorm1d\) is still in training mode"),
        (Counts(), "changes its own buffer 'calls'"),
    ],
    ids=["dropout", "noise", "numpy", "monte-carlo", "batch-norm", "counter"],
)
def test_a_module_that_does_not_repeat_its_answers_is_refused(module: nn.Module, said: str) -> None:
    state = torch.random.get_rng_state()
    before = {name: value.clone() for name, value in module.state_dict().items()}
    with pytest.raises(ModelError, match=said) as refused:
        export.export(module, ROWS)
    assert not isinstance(refused.value, export.ExportError), "it was asked before any export"
    assert all(torch.equal(value, before[name]) for name, value in module.state_dict().items())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_dropout_that_is_off_in_evaluation_is_exported() -> None:
    module = LeftOn(nn.Dropout(0.0)).train()
    export.export(nn.Sequential(nn.Dropout(0.5), module), ROWS)


def test_an_exported_program_with_noise_is_refused(tmp_path: Path) -> None:
    program = torch.export.export(
        Noisy(lambda x: x + torch.randn_like(x)), (ROWS,), dynamic_shapes=(({0: torch.export.Dim("batch")}),)
    )
    torch.export.save(program, str(tmp_path / "net.pt2"))
    with pytest.raises(ModelError, match="answers differ from call to call"):
        frontend.load((tmp_path / "net.pt2").read_bytes(), WHERE)


# ── codes among the numbers ───────────────────────────────────────────────────────────────────────────────


class InNumbers(nn.Module):
    def __init__(self, look_up: str) -> None:
        super().__init__()
        self.table, self.head, self.look_up = nn.Embedding(5, 3), nn.Linear(5, 1), look_up

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        code, weight = x[:, 0], self.table.weight
        made = {
            "embedding": lambda: self.table(code.long()),
            "index": lambda: weight[code.to(torch.int64)],
            "select": lambda: weight.index_select(0, code.int()),
            "several": lambda: self.table(x[:, :2].long()).sum(1),
            "bounded": lambda: self.table(code.long().clamp(0, 4)),
        }[self.look_up]()
        return torch.sigmoid(self.head(torch.cat([x[:, 1:], made], 1)))


def _rows(features: int) -> torch.Tensor:
    rows = torch.randn(8, features, generator=torch.Generator().manual_seed(0))
    rows[:, 0], rows[:, 1] = torch.arange(8) % 5, torch.arange(8) % 3
    return rows


def _answer(module: nn.Module, row: torch.Tensor) -> float:
    """NaN where torch fails."""
    try:
        with torch.no_grad():
            made = module(row)
    except (IndexError, RuntimeError):
        return float("nan")
    return float((made[0] if isinstance(made, tuple) else made).flatten()[0])


@pytest.mark.parametrize("look_up", ["embedding", "index", "select", "several", "bounded", "tabnet"])
def test_codes_that_a_net_takes_out_of_its_numbers_are_served_and_guarded(look_up: str, tmp_path: Path) -> None:
    pytest.importorskip("onnxruntime")
    torch.manual_seed(0)
    if look_up == "tabnet":
        module: nn.Module = TabNet(
            4, 1, n_steps=1, cat_idxs=[0, 1], cat_dims=[5, 3], cat_emb_dim=[2, 1], group_attention_matrix=torch.eye(4)
        )
    else:
        module = InNumbers(look_up)
    rows = _rows(4 if look_up == "tabnet" else 3)
    task = "regression" if look_up == "tabnet" else "binary"
    path = millwork.save_net(module, rows, tmp_path / "net.pt2", task=task)
    module.eval()
    loaded = frontend.load(path.read_bytes(), WHERE)
    guards = any("a row on which torch fails is answered NaN" in note for note in loaded.signature.notes)
    assert guards
    assert any("ends in a Sigmoid" in note for note in loaded.signature.notes) is (look_up != "tabnet")
    odd = rows.clone()
    odd[:5, 0] = torch.tensor([-1.0, 5.0, -0.5, 1e12, 4.9])
    wanted = np.array([_answer(module, odd[i : i + 1]) for i in range(len(odd))])
    session = to_onnx.session(finished(loaded.program, triton_releases.find("24.10")))
    got = session.run(None, {"input__0": odd.numpy()})[0][:, -1]  # of a binary net the second class's
    np.testing.assert_allclose(got, wanted, atol=1e-4)
    assert np.isnan(wanted).any() == (look_up != "bounded")
    assert not np.isnan(wanted[[2, 4, 5, 6, 7]]).any()


def test_a_programs_own_lookups_are_guarded_too(tmp_path: Path) -> None:
    module = InNumbers("embedding").eval()
    program = torch.export.export(module, (_rows(3),), dynamic_shapes=(({0: torch.export.Dim("batch")}),))
    torch.export.save(program, str(tmp_path / "net.pt2"))
    loaded = frontend.load((tmp_path / "net.pt2").read_bytes(), WHERE)
    assert any("a row on which torch fails is answered NaN" in note for note in loaded.signature.notes)


class Branches(nn.Module):
    def forward(self, x: torch.Tensor) -> torch.Tensor:
        if x.sum() > 0:
            return x
        return -x


def test_a_branch_is_named_with_its_line() -> None:
    with pytest.raises(ModelError, match=rf"(?s){Path(__file__).name}, line \d+.*torch\.where"):
        export.export(Branches(), ROWS)
