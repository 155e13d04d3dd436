"""The state of a pickle stream that is being read: where it is, its stack, marks and memo, and what is left to it.

Each method is one step that the opcodes are made of, and checks what it takes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ....errors import ModelError
from ....values import Value
from .stubs import Symbol

STOP = ord(".")


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


class Machine:
    """Position, stack, marks and memo of one stream; ``opcodes`` says what each byte does to them."""

    __slots__ = (
        "at",
        "containers_left",
        "limits",
        "marks",
        "memo",
        "name",
        "nested",
        "opcodes",
        "opcodes_left",
        "payload",
        "stack",
    )

    def __init__(self, payload: bytes, name: str, limits: Limits, opcodes: Opcodes) -> None:
        self.opcodes = opcodes
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
        size, table = len(self.payload), self.opcodes
        while self.at < size:
            opcode = self.payload[self.at]
            self.at += 1
            self.opcodes_left -= 1
            if self.opcodes_left < 0:
                raise self.refuse(f"more than {self.limits.opcodes} opcodes")
            if opcode == STOP:
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
            raise self.refuse(f"it announces {count} bytes, but {len(self.payload) - self.at} are left")
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


Opcodes = Mapping[int, Callable[[Machine], None]]
