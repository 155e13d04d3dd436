"""Pickles that attack whoever loads them: each would write a canary file, or never end, or eat the memory.

``live`` ones do write the canary under plain ``pickle.load`` or ``joblib.load``; a test runs them to show it.
"""

from __future__ import annotations

import copy
import io
import os
import pickle
import struct
from collections.abc import Iterator
from dataclasses import dataclass

import joblib
import numpy as np
import xgboost as xgb


@dataclass(frozen=True)
class Attack:
    name: str
    payload: bytes
    live: bool = False
    with_joblib: bool = False


class Calls:
    """Pickles as a call of ``function(*args)``."""

    def __init__(self, function: object, *args: object) -> None:
        self.reduced = (function, args)

    def __reduce__(self) -> tuple[object, ...]:
        return self.reduced


def text(value: str) -> bytes:
    return b"X" + struct.pack("<I", len(value.encode())) + value.encode()


def symbol(module: str, name: str) -> bytes:
    return text(module) + text(name) + b"\x93"


def call(module: str, name: str, *args: bytes) -> bytes:
    return symbol(module, name) + b"(" + b"".join(args) + b"tR"


def whole(body: bytes, protocol: int = 4) -> bytes:
    return b"\x80" + bytes([protocol]) + body + b"."


def executing(canary: str) -> Iterator[Attack]:
    """Those that run a command, each by another road."""
    command = f"touch {canary}"
    code = f"open({canary!r}, 'w').close()"
    for protocol in range(6):
        yield Attack(f"os.system, protocol {protocol}", pickle.dumps(Calls(os.system, command), protocol), live=True)
    line = b"V" + command.encode() + b"\n"
    yield Attack("GLOBAL and REDUCE", b"cos\nsystem\n(" + line + b"tR.", live=True)
    yield Attack("INST", b"(" + line + b"ios\nsystem\n.", live=True)
    yield Attack("OBJ", b"(cos\nsystem\n" + line + b"o.", live=True)
    yield Attack("STACK_GLOBAL", whole(call("posix", "system", text(command))), live=True)
    yield Attack("dotted STACK_GLOBAL", whole(call("logging", "os.system", text(command))), live=True)
    yield Attack("NEWOBJ", whole(symbol("os", "system") + text(command) + b"\x85\x81"))
    yield Attack("NEWOBJ_EX", whole(symbol("os", "system") + text(command) + b"\x85}\x92"))
    yield Attack("builtins.eval", whole(call("builtins", "eval", text(code))), live=True)
    yield Attack("builtins.exec", whole(call("builtins", "exec", text(code))), live=True)
    yield Attack("Python 2's __builtin__", whole(b"c__builtin__\neval\n" + text(code) + b"\x85R", 2), live=True)
    imported = call("builtins", "__import__", text("os"))
    got = call("builtins", "getattr", imported, text("system"))
    yield Attack("a getattr chain", whole(got + text(command) + b"\x85R"), live=True)
    getter = call("operator", "attrgetter", text("system")) + imported + b"\x85R"
    yield Attack("operator.attrgetter", whole(getter + text(command) + b"\x85R"), live=True)
    partial = call("functools", "partial", symbol("os", "system"), text(command))
    yield Attack("functools.partial", whole(partial + b")R"), live=True)
    harmless = symbol("functools", "partial") + symbol("builtins", "len") + b"\x85R"
    armed = harmless + b"(" + symbol("os", "system") + text(command) + b"\x85}Nt" + b"b"
    yield Attack("a __setstate__ gadget", whole(armed + b")R"), live=True)
    for module, name, args in (
        ("subprocess", "check_output", b"(" + text("touch") + text(canary) + b"l"),
        ("subprocess", "Popen", b"(" + text("touch") + text(canary) + b"l"),
        ("timeit", "timeit", text("pass") + text(code)),
        ("pydoc", "pipepager", text("") + text(command)),
        ("runpy", "_run_code", text(code) + b"}"),
        ("builtins", "open", text(canary) + text("w")),
        ("numpy.testing._private.utils", "runstring", text(code) + b"}"),
        ("shutil", "copyfile", text("/etc/hostname") + text(canary)),
        ("logging", "FileHandler", text(canary)),
    ):
        yield Attack(f"{module}.{name}", whole(call(module, name, args)), live=True)
    argument = b"(" + text("touch") + text(canary) + b"l"
    popen = symbol("subprocess", "Popen")
    yield Attack("copyreg._reconstructor", whole(call("copyreg", "_reconstructor", popen, popen, argument)), live=True)
    yield Attack("copyreg.__newobj__", whole(call("copyreg", "__newobj__", popen, argument)))
    registered = call("copyreg", "add_extension", text("os"), text("system"), b"K\x4d") + b"0"
    yield Attack("copyreg.add_extension, EXT1", whole(registered + b"\x82\x4d" + text(command) + b"\x85R"), live=True)
    yield Attack("hidden behind POP", whole(call("os", "system", text(command)) + b"0N"), live=True)
    yield Attack("a set's item", whole(b"\x8f(" + call("os", "system", text(command)) + b"\x90"), live=True)
    yield Attack("a dict's value", whole(b"}" + text("a") + call("os", "system", text(command)) + b"s"), live=True)


def inside_models(canary: str) -> Iterator[Attack]:
    """Those that hide in a file that is otherwise an honest XGBoost model."""
    command = f"touch {canary}"
    evil = Calls(os.system, command)
    rows = np.arange(40, dtype=np.float32).reshape(20, 2)
    model = xgb.XGBRegressor(n_estimators=1, max_depth=1, n_jobs=1).fit(rows, rows[:, 0])
    for attribute in ("missing", "n_classes_", "objective", "callbacks", "something_else"):
        yield Attack(f"the wrapper's {attribute}", pickle.dumps(_with(model, attribute, evil)), live=True)
    objects = np.empty(1, object)
    objects[0] = evil
    armed = _with(model, "classes_", objects)
    for name, compress in (("", 0), (" in zlib", ("zlib", 3)), (" in xz", ("xz", 3))):
        buffer = io.BytesIO()
        joblib.dump(armed, buffer, compress=compress)
        yield Attack(f"joblib's object array{name}", buffer.getvalue(), live=True, with_joblib=True)
    path = text("/etc/passwd")
    yield Attack("Booster(model_file=…)", whole(call("xgboost.core", "Booster", b"N)" + path)))
    yield Attack("Booster by NEWOBJ", whole(symbol("xgboost.core", "Booster") + b"(N)" + path + b"t\x81}b"))
    built = symbol("xgboost.core", "Booster") + b")\x81"
    for name, handle in (
        ("a path", path),
        ("eval's result", call("builtins", "eval", text(f"open({canary!r}, 'w')"))),
        ("a codec's result", call("_codecs", "encode", text("x"), text("zip"))),
        ("a bytearray of 2 ** 62", call("builtins", "bytearray", b"\x8a\x08" + struct.pack("<q", 1 << 62))),
        ("bytes of a bytearray of itself", b"\x94h\x00" + b"h\x00\x85R"),
    ):
        yield Attack(f"a handle that is {name}", whole(built + b"}" + text("handle") + handle + b"sb"))
    twice = built + b"}" + text("handle") + b"C\x02{L" + b"sb" + b"}" + text("handle") + path + b"sb"
    yield Attack("a state set twice", whole(twice))


def exhausting() -> Iterator[Attack]:
    """Those that would take for ever, or all the memory."""
    yield Attack("a LONG4 of 2 GiB", whole(b"\x8b\xff\xff\xff\x7f"))
    yield Attack("a negative LONG4", whole(b"\x8b\xff\xff\xff\xff"))
    for opcode in (b"\x8e", b"\x8d", b"\x96"):
        yield Attack(f"{opcode!r} of 2 ** 62 bytes", whole(opcode + struct.pack("<Q", 1 << 62)))
    yield Attack("a frame of 2 ** 62 bytes", whole(b"\x95" + struct.pack("<Q", 1 << 62) + b"N"))
    yield Attack("a decimal number of a million digits", b"L" + b"9" * 1_000_000 + b"L\n.")
    yield Attack("marks, 100,000 deep", whole(b"(" * 100_000 + b"t" * 100_000))
    yield Attack("tuples, 500,000 deep", whole(b")" + b"\x85" * 500_000))
    yield Attack("lists, 500,000 deep", whole(b"]" * 500_000 + b"a" * 499_999))
    yield Attack("reduces, 500,000 deep", whole(symbol("a", "b") + b")R" * 500_000))
    yield Attack("a million laughs", whole(b"]" + b"2(" + b"".join(b"]2222222222" for _ in range(200)) + b"e"))
    yield Attack("a key of 2 ** 60 leaves", whole(b"}" + b")" + b"2\x86" * 60 + b"Ns"))
    yield Attack("a global of 2 ** 60 leaves", whole(b")" + b"2\x86" * 60 + b")R"))
    yield Attack("a list in itself", whole(b"]2a"))
    colliding = b"".join(b"\x8a\x10" + (n * ((1 << 61) - 1)).to_bytes(16, "little") + b"N" for n in range(50_000))
    yield Attack("50,000 keys of one hash", whole(b"}(" + colliding + b"u"))
    yield Attack("a memo entry numbered 4 billion", whole(b"Nr\xff\xff\xff\xff"))
    yield Attack("a memo entry numbered 9 ** 999", b"Np" + str(9**999).encode() + b"\n.")
    yield Attack("a negative memo entry", b"Np-1\n.")
    yield Attack("a memo of everything", whole(b"N" + b"\x94" * 2_100_000))
    yield Attack("two million dicts", whole(b"}" * 2_100_000))
    yield Attack("no STOP", b"\x80\x04" + b"N0" * 100_000)
    for shape in (b"\x8a\x08" + struct.pack("<q", 1 << 62), b"J\xff\xff\xff\xff", b"N", text("4")):
        yield Attack(f"an array of joblib's of shape {shape!r}", whole(_wrapper(shape, "f8")))
    for code in ("V999999999", "V99999999999999", "U999999999", "O", "f3", "f8,f8", "(9999999,9999999)f8", "M8[fs]"):
        yield Attack(f"an array of joblib's of {code}", whole(_wrapper(b"K\x08", code)))
    inner = _wrapper(b"K\x01", "O")
    yield Attack("joblib's arrays in one another", whole((inner + b"\x80\x05") * 50_000))


def odd() -> Iterator[Attack]:
    """Opcodes that no model file needs."""
    for opcode in (b"\x82\x01", b"\x83\x01\x00", b"\x84\x01\x00\x00\x00"):
        yield Attack(f"EXT {opcode!r}", whole(opcode))
    yield Attack("PERSID", b"Psome id\n.")
    yield Attack("BINPERSID", whole(text("some id") + b"Q"))
    yield Attack("NEXT_BUFFER", whole(b"\x97", 5))
    yield Attack("READONLY_BUFFER", whole(b"C\x01x\x98", 5))
    yield Attack("a byte string of Python 2", b"S'abc'\n.")
    yield Attack("protocol 6", b"\x80\x06N.")
    yield Attack("an opcode that isn't", whole(b"\xff"))
    for body in (
        b"R",
        b"t",
        b"a",
        b"s",
        b"b",
        b"e",
        b"0",
        b"2",
        b"\x93",
        b"h\x00",
        b"\x94",
        b"o",
        b"NNR",
        b"N)b",
        b"NNa",
        b"(NNd",
    ):
        yield Attack(f"too little for {body!r}", whole(body))
    yield Attack("a name of control characters", whole(call("\x1b[2J\n\r", "\x00" * 500)))
    yield Attack("a name of surrogates", whole(b"X\x03\x00\x00\x00\xed\xa0\x80" + text("x") + b"\x93)R"))


def everything(canary: str) -> list[Attack]:
    """All of them; those that execute write the file ``canary``."""
    return [*executing(canary), *inside_models(canary), *exhausting(), *odd()]


def _with(model: xgb.XGBRegressor, attribute: str, value: object) -> xgb.XGBRegressor:
    changed = copy.copy(model)
    changed.__dict__[attribute] = value
    return changed


def _wrapper(length: bytes, code: str) -> bytes:
    """joblib's wrapper of an array with one axis, as it stands before the array's bytes."""
    dtype = call("numpy", "dtype", text(code), b"\x89", b"\x88")
    fields = text("dtype") + dtype + text("shape") + length + b"\x85" + text("order") + text("C")
    return symbol("joblib.numpy_pickle", "NumpyArrayWrapper") + b")\x81}(" + fields + b"ub"
