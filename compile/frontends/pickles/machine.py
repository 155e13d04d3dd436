"""The pickle machine, without its call button: runs the opcodes of a stream and builds inert records.

Source of the opcodes: CPython's ``pickletools``. Nothing is imported, looked up or called: GLOBAL and its kin give
two strings, REDUCE and its kin a record of them. What has no use in a model file is refused: persistent ids, the
extension registry, out-of-band buffers, Python 2's byte strings.

joblib writes a wrapper where an array stands and the array's bytes into the stream right after the wrapper's
BUILD (joblib/numpy_pickle.py); they are read there. An array of objects is a whole pickle at that place: it runs
in the same machine, under the same limits.
"""

from __future__ import annotations

import struct
from collections.abc import Callable

from ....errors import ModelError
from ....values import Value
from .arrays import WRAPPER, wrapped_layout
from .stubs import Pairs, Record, Symbol, class_of


class Limits(Value):
    """What one file may ask for. An honest wrapper takes a few hundred opcodes; CatBoost's evaluation scores more.

    Bytes need no limit of their own: every string lies in the stream, whose size is limited.
    """

    file_bytes: int = 4 << 30
    expanded_bytes: int = 4 << 30
    opcodes: int = 20_000_000
    containers: int = 2_000_000
    memo: int = 2_000_000
    depth: int = 1_000


def run(payload: bytes, name: str, limits: Limits) -> object:
    """The value that the pickle (plain, or joblib's uncompressed form) in ``payload`` describes.

    Gives None, bool, int, float, str, bytes, list, tuple, :class:`Pairs`, :class:`Symbol` or :class:`Record`.
    Raises ModelError where the stream is malformed, truncated, or asks for more than ``limits``.
    """
    return _Machine(payload, name, limits).run(nested=False)


class _Machine:
    __slots__ = (
        "at",
        "containers_left",
        "limits",
        "marks",
        "memo",
        "name",
        "nested",
        "opcodes_left",
        "payload",
        "stack",
    )

    def __init__(self, payload: bytes, name: str, limits: Limits) -> None:
        self.payload = payload
        self.name = name
        self.limits = limits
        self.at = 0
        self.opcodes_left = limits.opcodes
        self.containers_left = limits.containers
        self.nested = False
        self.stack: list[object] = []
        self.marks: list[list[object]] = []
        self.memo: dict[int, object] = {}

    def run(self, *, nested: bool) -> object:
        self.nested, self.stack, self.marks, self.memo = nested, [], [], {}
        size, table = len(self.payload), _OPCODES
        while self.at < size:
            opcode = self.payload[self.at]
            self.at += 1
            self.opcodes_left -= 1
            if self.opcodes_left < 0:
                raise self.refuse(f"more than {self.limits.opcodes} opcodes")
            if opcode == _STOP:
                return self.pop()
            act = table.get(opcode)
            if act is None:
                raise self.refuse(f"{bytes([opcode])!r} is not an opcode")
            act(self)
        raise self.refuse("the stream ends before its STOP: the file is truncated")

    def refuse(self, why: str) -> ModelError:
        return ModelError(
            f"{self.name}: not a readable pickle: at byte {self.at} of {len(self.payload)}: {why}",
            "Save the model again, or save it with its own save_model().",
        )

    def take(self, count: int) -> bytes:
        if not 0 <= count <= len(self.payload) - self.at:
            raise self.refuse(f"{count} bytes announced, {len(self.payload) - self.at} left")
        self.at += count
        return self.payload[self.at - count : self.at]

    def unsigned(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def line(self) -> bytes:
        end = self.payload.find(b"\n", self.at)
        if end < 0:
            raise self.refuse("a line without an end")
        text = self.payload[self.at : end]
        self.at = end + 1
        return text

    def decimal(self, text: bytes) -> int:
        # int() takes time that grows with the square of the digits; Python itself stops at 4,300
        if len(text) > 1_000 or not text.removeprefix(b"-").isdigit():
            raise self.refuse("a number in decimal digits expected")
        return int(text)

    def push(self, value: object) -> None:
        self.stack.append(value)

    def container(self, value: object) -> None:
        self.containers_left -= 1
        if self.containers_left < 0:
            raise self.refuse(f"more than {self.limits.containers} objects")
        self.stack.append(value)

    def pop(self) -> object:
        if not self.stack:
            raise self.refuse("nothing on the stack")
        return self.stack.pop()

    def top(self) -> object:
        if not self.stack:
            raise self.refuse("nothing on the stack")
        return self.stack[-1]

    def to_mark(self) -> list[object]:
        if not self.marks:
            raise self.refuse("no mark on the stack")
        items, self.stack = self.stack, self.marks.pop()
        return items

    def tuple_of(self, count: int) -> tuple[object, ...]:
        if len(self.stack) < count:
            raise self.refuse("nothing on the stack")
        items = tuple(self.stack[-count:])
        del self.stack[-count:]
        return items

    def arguments(self) -> tuple[object, ...]:
        args = self.pop()
        if not isinstance(args, tuple):
            raise self.refuse("arguments that are not a tuple")
        return args

    def text_pair(self) -> Symbol:
        name, module = self.pop(), self.pop()
        if not isinstance(name, str) or not isinstance(module, str):
            raise self.refuse("a global whose name is not text")
        return Symbol(module, name)

    def symbol_lines(self) -> Symbol:
        try:
            return Symbol(self.line().decode(), self.line().decode())
        except UnicodeDecodeError:
            raise self.refuse("a global whose name is not text") from None

    def text(self, raw: bytes, encoding: str = "utf-8", errors: str = "surrogatepass") -> None:
        try:
            self.push(raw.decode(encoding, errors))
        except UnicodeDecodeError:
            raise self.refuse(f"text that is not {encoding}") from None

    def remember(self, index: int) -> None:
        # picklers number the entries from zero; a chosen number could make the dict's lookups collide
        if not 0 <= index < self.limits.memo:
            raise self.refuse(f"more than {self.limits.memo} memo entries")
        self.memo[index] = self.top()

    def recall(self, index: int) -> None:
        if index not in self.memo:
            raise self.refuse("a memo entry that was never set")
        self.push(self.memo[index])


def _mark(machine: _Machine) -> None:
    if len(machine.marks) >= machine.limits.depth:
        raise machine.refuse(f"nested deeper than {machine.limits.depth}")
    machine.marks.append(machine.stack)
    machine.stack = []


def _proto(machine: _Machine) -> None:
    version = machine.unsigned(1)
    if version > 5:
        raise machine.refuse(f"protocol {version}; 0 to 5 are read")


def _frame(machine: _Machine) -> None:
    length = machine.unsigned(8)
    if length > len(machine.payload) - machine.at:
        raise machine.refuse(f"a frame of {length} bytes, {len(machine.payload) - machine.at} left: it is truncated")


def _int_line(machine: _Machine) -> None:
    text = machine.line()
    machine.push({b"00": False, b"01": True}[text] if text in {b"00", b"01"} else machine.decimal(text))


def _float_line(machine: _Machine) -> None:
    text = machine.line()
    try:
        machine.push(float(text))
    except ValueError:
        raise machine.refuse("a number expected") from None


def _long(machine: _Machine, width: int) -> None:
    machine.push(int.from_bytes(machine.take(machine.unsigned(width)), "little", signed=True))


def _add_items(machine: _Machine, items: list[object]) -> None:
    match machine.top():
        case list() as target:
            target.extend(items)
        case Record(items=target):
            target.extend(items)
        case _:
            raise machine.refuse("items for something that holds none")


def _add_pairs(machine: _Machine, items: list[object]) -> None:
    if len(items) % 2:
        raise machine.refuse("a key without a value")
    target = machine.top()
    if not isinstance(target, Pairs | Record):
        raise machine.refuse("keys for something that holds none")
    target.pairs.extend(zip(items[::2], items[1::2], strict=True))


def _dict(machine: _Machine) -> None:
    items = machine.to_mark()
    machine.container(Pairs())
    _add_pairs(machine, items)


def _append(machine: _Machine) -> None:
    item = machine.pop()
    _add_items(machine, [item])


def _setitem(machine: _Machine) -> None:
    pair = list(machine.tuple_of(2))
    _add_pairs(machine, pair)


def _collection(machine: _Machine, name: str, items: list[object]) -> None:
    machine.container(Record(Symbol("builtins", name), (), items=items))


def _call(machine: _Machine) -> None:
    args = machine.arguments()
    machine.container(Record(machine.pop(), args))


def _newobj_ex(machine: _Machine) -> None:
    keywords = machine.pop()
    args = machine.arguments()
    empty = isinstance(keywords, Pairs) and not keywords.pairs
    machine.container(Record(machine.pop(), args, keywords=None if empty else keywords))


def _inst(machine: _Machine) -> None:
    symbol = machine.symbol_lines()
    machine.container(Record(symbol, tuple(machine.to_mark())))


def _obj(machine: _Machine) -> None:
    items = machine.to_mark()
    if not items:
        raise machine.refuse("an object without a class")
    machine.container(Record(items[0], tuple(items[1:])))


def _build(machine: _Machine) -> None:
    state, target = machine.pop(), machine.top()
    if not isinstance(target, Record):
        raise machine.refuse("a state for something that takes none")
    target.states.append(state)
    if not machine.nested and class_of(target) == WRAPPER:
        _wrapped_array(machine, target)


def _wrapped_array(machine: _Machine, wrapper: Record) -> None:
    layout = wrapped_layout(wrapper)
    if layout is None or wrapper.items:
        raise machine.refuse("an array of joblib's with an unknown layout")
    dtype, count, aligned = layout
    if dtype.hasobject:
        wrapper.items.append(_nested(machine))
        return
    if aligned:
        machine.take(machine.unsigned(1))
    wrapper.items.append(machine.take(count * dtype.itemsize))


def _nested(machine: _Machine) -> object:
    """The pickle that starts here. Python allows one inside another without end; joblib writes no second level."""
    outer = machine.stack, machine.marks, machine.memo
    value = machine.run(nested=True)
    machine.nested = False
    machine.stack, machine.marks, machine.memo = outer
    return value


def _bytearray(machine: _Machine) -> None:
    machine.push(machine.take(machine.unsigned(8)))


def _refused(what: str) -> Callable[[_Machine], None]:
    def act(machine: _Machine) -> None:
        raise machine.refuse(f"{what}, which no model file needs")

    return act


def _pop_mark(machine: _Machine) -> None:
    machine.to_mark()


def _pop(machine: _Machine) -> None:
    # as in CPython: with nothing since the last mark, POP takes the mark
    if machine.stack or not machine.marks:
        machine.pop()
    else:
        machine.to_mark()


_STOP = ord(".")
_PYTHON_2 = _refused("a byte string of Python 2")
_EXTENSION = _refused("an entry of the extension registry")
_PERSISTENT = _refused("a persistent id")
_BUFFER = _refused("an out-of-band buffer")

_OPCODES: dict[int, Callable[[_Machine], None]] = {
    code[0]: act
    for code, act in (
        # the stream
        (b"\x80", _proto),
        (b"\x95", _frame),
        # constants
        (b"N", lambda machine: machine.push(None)),
        (b"\x88", lambda machine: machine.push(True)),
        (b"\x89", lambda machine: machine.push(False)),
        # numbers
        (b"I", _int_line),
        (b"L", lambda machine: machine.push(machine.decimal(machine.line().removesuffix(b"L")))),
        (b"F", _float_line),
        (b"K", lambda machine: machine.push(machine.unsigned(1))),
        (b"M", lambda machine: machine.push(machine.unsigned(2))),
        (b"J", lambda machine: machine.push(int.from_bytes(machine.take(4), "little", signed=True))),
        (b"\x8a", lambda machine: _long(machine, 1)),
        (b"\x8b", lambda machine: _long(machine, 4)),
        (b"G", lambda machine: machine.push(struct.unpack(">d", machine.take(8))[0])),
        # text and bytes
        (b"V", lambda machine: machine.text(machine.line(), "raw-unicode-escape", "strict")),
        (b"\x8c", lambda machine: machine.text(machine.take(machine.unsigned(1)))),
        (b"X", lambda machine: machine.text(machine.take(machine.unsigned(4)))),
        (b"\x8d", lambda machine: machine.text(machine.take(machine.unsigned(8)))),
        (b"C", lambda machine: machine.push(machine.take(machine.unsigned(1)))),
        (b"B", lambda machine: machine.push(machine.take(machine.unsigned(4)))),
        (b"\x8e", lambda machine: machine.push(machine.take(machine.unsigned(8)))),
        (b"\x96", _bytearray),
        # containers
        (b"(", _mark),
        (b"1", _pop_mark),
        (b"0", _pop),
        (b"2", lambda machine: machine.push(machine.top())),
        (b")", lambda machine: machine.push(())),
        (b"\x85", lambda machine: machine.container(machine.tuple_of(1))),
        (b"\x86", lambda machine: machine.container(machine.tuple_of(2))),
        (b"\x87", lambda machine: machine.container(machine.tuple_of(3))),
        (b"t", lambda machine: machine.container(tuple(machine.to_mark()))),
        (b"]", lambda machine: machine.container([])),
        (b"l", lambda machine: machine.container(machine.to_mark())),
        (b"a", _append),
        (b"e", lambda machine: _add_items(machine, machine.to_mark())),
        (b"}", lambda machine: machine.container(Pairs())),
        (b"d", _dict),
        (b"s", _setitem),
        (b"u", lambda machine: _add_pairs(machine, machine.to_mark())),
        (b"\x8f", lambda machine: _collection(machine, "set", [])),
        (b"\x90", lambda machine: _add_items(machine, machine.to_mark())),
        (b"\x91", lambda machine: _collection(machine, "frozenset", machine.to_mark())),
        # the memo
        (b"p", lambda machine: machine.remember(machine.decimal(machine.line()))),
        (b"q", lambda machine: machine.remember(machine.unsigned(1))),
        (b"r", lambda machine: machine.remember(machine.unsigned(4))),
        (b"\x94", lambda machine: machine.remember(len(machine.memo))),
        (b"g", lambda machine: machine.recall(machine.decimal(machine.line()))),
        (b"h", lambda machine: machine.recall(machine.unsigned(1))),
        (b"j", lambda machine: machine.recall(machine.unsigned(4))),
        # names and calls, none of them followed
        (b"c", lambda machine: machine.container(machine.symbol_lines())),
        (b"\x93", lambda machine: machine.container(machine.text_pair())),
        (b"R", _call),
        (b"\x81", _call),
        (b"\x92", _newobj_ex),
        (b"i", _inst),
        (b"o", _obj),
        (b"b", _build),
        # refused
        (b"S", _PYTHON_2),
        (b"T", _PYTHON_2),
        (b"U", _PYTHON_2),
        (b"P", _PERSISTENT),
        (b"Q", _PERSISTENT),
        (b"\x82", _EXTENSION),
        (b"\x83", _EXTENSION),
        (b"\x84", _EXTENSION),
        (b"\x97", _BUFFER),
        (b"\x98", _BUFFER),
    )
}
