"""What a pickle says, as inert records: names and contents, of which nothing is ever looked up or called.

    GLOBAL                       -> Symbol     a module and a name, two strings
    REDUCE, NEWOBJ, INST, OBJ    -> Record     what would be called, with which arguments, and all that is set on it
    DICT                         -> Pairs      keys and values as they came: no key is hashed, so no hash is attacked

The functions at the foot read a record where a reader asks for one value. Each knows the exact spellings that
pickle itself writes for such a value, and gives None for anything else.
"""

from __future__ import annotations

from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Symbol:
    """A global that the pickle names. ``str()`` of it is short and printable, whatever the pickle holds."""

    module: str
    name: str

    def __str__(self) -> str:
        dotted = f"{self.module}.{self.name}" if self.module else self.name
        return ascii(dotted[:120])[1:-1]


@dataclass(slots=True, eq=False)
class Pairs:
    """A dict: its keys and values in the order they were set."""

    pairs: list[tuple[object, object]] = field(default_factory=list)


@dataclass(slots=True, eq=False)
class Record:
    """A call that wasn't made: ``maker(*args)``; then each state (BUILD), item (APPENDS) and pair (SETITEMS)."""

    maker: object
    args: tuple[object, ...]
    keywords: object = None
    states: list[object] = field(default_factory=list)
    items: list[object] = field(default_factory=list)
    pairs: list[tuple[object, object]] = field(default_factory=list)


OBJECT = frozenset({Symbol("builtins", "object"), Symbol("__builtin__", "object")})
RECONSTRUCTOR = frozenset({Symbol("copyreg", "_reconstructor"), Symbol("copy_reg", "_reconstructor")})
NEWOBJ = frozenset({Symbol("copyreg", "__newobj__"), Symbol("copy_reg", "__newobj__")})
BYTES = frozenset({Symbol("builtins", kind) for kind in ("bytes", "bytearray")}) | frozenset(
    {Symbol("__builtin__", kind) for kind in ("bytes", "bytearray")}
)
ENCODE = Symbol("_codecs", "encode")
_LATIN = ("latin1", "latin-1")


def is_one_of(value: object, symbols: frozenset[Symbol]) -> bool:
    """Whether it is one of these names. Nothing but a name is hashed: a nested tuple's hash can take for ever."""
    return isinstance(value, Symbol) and value in symbols


def class_of(value: object) -> Symbol | None:
    """The class that a record would be an instance of, made with no arguments; else None.

    That is how objects with a ``__getstate__`` are pickled: NEWOBJ with no arguments (protocol 2 and later), or
    ``copyreg._reconstructor(class, object, None)`` (0 and 1), and then one state.
    """
    if not isinstance(value, Record) or value.keywords is not None:
        return None
    made, args = value.maker, value.args
    reconstructed = is_one_of(made, RECONSTRUCTOR) and len(args) == 3 and is_one_of(args[1], OBJECT)
    if (reconstructed and args[2] is None) or (is_one_of(made, NEWOBJ) and len(args) == 1):
        made, args = args[0], ()
    return made if isinstance(made, Symbol) and not args else None


def named(value: object) -> str:
    """What a value is, in a word or a dotted name: for messages."""
    match value:
        case Symbol():
            return str(value)
        case Record(maker=Symbol() as maker, args=args):
            wrapped = is_one_of(maker, RECONSTRUCTOR | NEWOBJ) and args and isinstance(args[0], Symbol)
            return str(args[0] if wrapped else maker)
        case Record():
            return "an object made by another object"
        case Pairs():
            return "dict"
        case _:
            return type(value).__name__


def fields_of(record: Record) -> dict[str, object] | None:
    """The attributes of an object whose one state is a dict; keys that aren't text are left out."""
    if len(record.states) != 1 or record.items or record.pairs:
        return None
    (state,) = record.states
    return text_keys(state) if isinstance(state, Pairs) else None


def text_keys(mapping: Pairs) -> dict[str, object]:
    """As a dict: the last value of each key that is text."""
    return {key: value for key, value in mapping.pairs if type(key) is str}


def as_bytes(value: object) -> bytes | None:
    """Bytes or a bytearray, as each protocol writes them; else None.

    Protocols 0-2 have no bytes: they write ``_codecs.encode(text, "latin1")``, ``bytearray(text, "latin-1")``.
    """
    if isinstance(value, bytes):
        return value
    if not isinstance(value, Record) or value.states or value.items or value.pairs or value.keywords is not None:
        return None
    match value.args:
        case (str() as text, str() as encoding) if encoding in _LATIN and (
            value.maker == ENCODE or is_one_of(value.maker, BYTES)
        ):
            return _latin1(text)
        case () if is_one_of(value.maker, BYTES):
            return b""
        case (bytes() as raw,) if is_one_of(value.maker, BYTES):
            return raw
        case (Record(maker=maker) as inner,) if is_one_of(value.maker, BYTES) and maker == ENCODE:
            return as_bytes(inner)
    return None


def _latin1(text: str) -> bytes | None:
    try:
        return text.encode("latin-1")
    except UnicodeEncodeError:
        return None
