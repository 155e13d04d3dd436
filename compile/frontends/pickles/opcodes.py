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

from .allowed import WRAPPER
from .arrays import wrapped_layout
from .machine import Limits, Machine
from .stubs import Pairs, Record, Symbol, class_of


def run(payload: bytes, name: str, limits: Limits) -> object:
    """The value that the pickle (plain, or joblib's uncompressed form) in ``payload`` describes.

    Gives None, bool, int, float, str, bytes, list, tuple, :class:`Pairs`, :class:`Symbol` or :class:`Record`.
    Raises ModelError where the stream is malformed, truncated, or asks for more than ``limits``.
    """
    return Machine(payload, name, limits, _OPCODES).run(nested=False)


def _mark(machine: Machine) -> None:
    if len(machine.marks) >= machine.limits.depth:
        raise machine.refuse(f"nested deeper than {machine.limits.depth}")
    machine.marks.append(machine.stack)
    machine.stack = []


def _proto(machine: Machine) -> None:
    version = machine.unsigned(1)
    if version > 5:
        raise machine.refuse(f"protocol {version}; 0 to 5 are read")


def _frame(machine: Machine) -> None:
    length = machine.unsigned(8)
    if length > len(machine.payload) - machine.at:
        raise machine.refuse(f"a frame of {length} bytes, {len(machine.payload) - machine.at} left: it is truncated")


def _int_line(machine: Machine) -> None:
    text = machine.line()
    machine.push({b"00": False, b"01": True}[text] if text in {b"00", b"01"} else machine.decimal(text))


def _float_line(machine: Machine) -> None:
    text = machine.line()
    try:
        machine.push(float(text))
    except ValueError:
        raise machine.refuse("a number expected") from None


def _long(machine: Machine, width: int) -> None:
    machine.push(int.from_bytes(machine.take(machine.unsigned(width)), "little", signed=True))


def _add_items(machine: Machine, items: list[object]) -> None:
    match machine.top():
        case list() as target:
            target.extend(items)
        case Record(items=target):
            target.extend(items)
        case _:
            raise machine.refuse("items for something that holds none")


def _add_pairs(machine: Machine, items: list[object]) -> None:
    if len(items) % 2:
        raise machine.refuse("a key without a value")
    target = machine.top()
    if not isinstance(target, Pairs | Record):
        raise machine.refuse("keys for something that holds none")
    target.pairs.extend(zip(items[::2], items[1::2], strict=True))


def _dict(machine: Machine) -> None:
    items = machine.to_mark()
    machine.container(Pairs())
    _add_pairs(machine, items)


def _append(machine: Machine) -> None:
    item = machine.pop()
    _add_items(machine, [item])


def _setitem(machine: Machine) -> None:
    pair = list(machine.tuple_of(2))
    _add_pairs(machine, pair)


def _collection(machine: Machine, name: str, items: list[object]) -> None:
    machine.container(Record(Symbol("builtins", name), (), items=items))


def _call(machine: Machine) -> None:
    args = machine.arguments()
    machine.container(Record(machine.pop(), args))


def _newobj_ex(machine: Machine) -> None:
    keywords = machine.pop()
    args = machine.arguments()
    empty = isinstance(keywords, Pairs) and not keywords.pairs
    machine.container(Record(machine.pop(), args, keywords=None if empty else keywords))


def _inst(machine: Machine) -> None:
    symbol = machine.symbol_lines()
    machine.container(Record(symbol, tuple(machine.to_mark())))


def _obj(machine: Machine) -> None:
    items = machine.to_mark()
    if not items:
        raise machine.refuse("an object without a class")
    machine.container(Record(items[0], tuple(items[1:])))


def _build(machine: Machine) -> None:
    state, target = machine.pop(), machine.top()
    if not isinstance(target, Record):
        raise machine.refuse("a state for something that takes none")
    target.states.append(state)
    if not machine.nested and class_of(target) == WRAPPER:
        _wrapped_array(machine, target)


def _wrapped_array(machine: Machine, wrapper: Record) -> None:
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


def _nested(machine: Machine) -> object:
    """The pickle that starts here. Python allows one inside another without end; joblib writes no second level."""
    outer = machine.stack, machine.marks, machine.memo
    value = machine.run(nested=True)
    machine.nested = False
    machine.stack, machine.marks, machine.memo = outer
    return value


def _bytearray(machine: Machine) -> None:
    machine.push(machine.take(machine.unsigned(8)))


def _refused(what: str) -> Callable[[Machine], None]:
    def act(machine: Machine) -> None:
        raise machine.refuse(f"{what}, which no model file needs")

    return act


def _pop_mark(machine: Machine) -> None:
    machine.to_mark()


def _pop(machine: Machine) -> None:
    # as in CPython: with nothing since the last mark, POP takes the mark
    if machine.stack or not machine.marks:
        machine.pop()
    else:
        machine.to_mark()


_PYTHON_2 = _refused("a byte string of Python 2")
_EXTENSION = _refused("an entry of the extension registry")
_PERSISTENT = _refused("a persistent id")
_BUFFER = _refused("an out-of-band buffer")

_OPCODES: dict[int, Callable[[Machine], None]] = {
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
