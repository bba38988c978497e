"""A pickle reader for containers, text and numbers, and nothing else.

A pickle is a program for a small machine, and the ordinary reader runs whatever it names. This one is a machine that
has only the instructions of plain data, and knows only the names that it is given: for benchmark records those by which
NumPy scalars, sets, bytes and ordered dictionaries are written. A damaged or hostile file can neither call anything nor
make much of little: time and memory grow with the size of the file, since whatever could multiply has a budget. That
is, what calls produce (a text that is kept once can be turned into bytes again and again); what is hashed (a pair of a
pair of a pair … that is the same object twice doubles with every level); how many containers there are; and how many
keys can be made to collide.
"""

from __future__ import annotations

import struct
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from sys import hash_info
from typing import Any, TypeAlias, final

from sharewise.errors import DataError

__all__ = ["Dialect", "Function", "Machine", "RefusedError", "StandIn", "latin1", "no_bytes", "read_record", "unpickle"]


def read_record(content: bytes, where: str, *, several: int = 1, containers: int = 20_000) -> Any:
    """Read a pickled record from a stranger without running anything that it contains.

    Args:
        content: one pickle of protocol 2 to 5, or several after each other.
        where: name of the file, for errors.
        several: which of the pickles to return, counted from 1; the others are read and dropped.
        containers: the largest number of tuples, lists, sets and dictionaries in a pickle; an empty one takes a byte of
            the file and about 60 of memory.

    Returns:
        Containers of Python values; ordered dictionaries are dictionaries, NumPy scalars are Python numbers. As in any
        pickle, one list may stand in many places, or in itself: whoever prints such a value has to set a limit.

    Raises:
        DataError: when the pickle is damaged, asks for anything that such a record does not need, or would take more
            time or memory than a file of its size should; the message names it.

    Example:
        >>> import numpy as np, pickle
        >>> read_record(pickle.dumps({"accuracy": np.float64(91.5), "runs": [777, 888]}, 4), "record")
        {'accuracy': 91.5, 'runs': [777, 888]}
        >>> read_record(pickle.dumps(print), "record")
        Traceback (most recent call last):
        sharewise.errors.DataError: the pickle 'record' asks for 'builtins.print', which no ...
    """
    return unpickle(content, where, _RECORD, several=several, containers=containers)


def unpickle(content: bytes, where: str, dialect: Dialect, *, several: int = 1, containers: int = 20_000) -> Any:
    """Read a pickle from a stranger, in a dialect; `read_record` describes the other arguments and errors.

    Args:
        content: one pickle, or several after each other.
        where: name of the file, for errors.
        dialect: what the pickle may name and do.
        several: which of the pickles to return, counted from 1.
        containers: the largest number of containers in a pickle.

    Returns:
        The value.

    Raises:
        DataError: when the pickle is damaged, or asks for what the dialect does not have.

    Example:
        >>> import pickle
        >>> unpickle(pickle.dumps([1, "a"], 2), "list", Dialect({}))
        [1, 'a']
    """
    value, place = None, 0
    try:
        for _ in range(several):
            machine = Machine(content, place, containers, dialect)
            value, place = machine.run(), machine.place
    except RefusedError as error:
        raise DataError(f"the pickle {where!r} {error}") from None
    except Exception as error:  # a damaged pickle can fail in any way
        raise DataError(f"the pickle {where!r} is damaged ({type(error).__name__}: {str(error)[:200]})") from None
    return value


Instruction: TypeAlias = "Callable[[Machine], None]"


class RefusedError(Exception):
    """Why a pickle is not read."""


@final
@dataclass(frozen=True)
class Dialect:
    """What pickles of one kind may name and do beyond plain containers, texts and numbers.

    Args:
        functions: what may be named, by module and name.
        instructions: further instructions, by their code.
        first: number under which the first value may be kept beside 0: Python 2 counted from 1.

    Example:
        >>> Dialect({}).first
        0
    """

    functions: Mapping[tuple[str, str], Function]
    instructions: Mapping[int, Instruction] = field(default_factory=dict)
    first: int = 0


_ATTACK = "which no data file needs; it may be an attack: do not open it by other means"
_ALLOWANCE = 10_000  # elements that even the smallest file may hash, and produce by calls
_DEPTH = 100  # of a key that is a tuple in a tuple …; hashing takes memory of the stack for each level
_NESTED_KEYS = 1_000  # in one dictionary: hashes of tuples of numbers can be made to collide
_SCALARS = frozenset({str, bytes, int, float, bool, type(None)})


@final
class Machine:
    """The stack, the memory and the budgets of one pickle.

    Args:
        content: of the file.
        place: where the pickle begins; after `run`, where it ends.
        containers: how many it may make.
        dialect: what it may name and do.
    """

    __slots__ = ("allowed", "containers", "content", "dialect", "hashed", "kept", "outer", "place", "produced", "stack")

    def __init__(self, content: bytes, place: int, containers: int, dialect: Dialect) -> None:
        self.content, self.place, self.dialect = content, place, dialect
        self.containers = self.allowed = containers
        self.hashed = self.produced = max(len(content) - place, _ALLOWANCE)
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []  # the stacks below each mark
        self.kept: list[Any] = []

    def run(self) -> Any:
        """Carry out all instructions, and return the value that is left."""
        content, kept, place = self.content, self.kept, self.place
        try:
            while True:
                stack = self.stack
                # four instructions are most of every record, and so are carried out here
                while True:
                    code = content[place]
                    place += 1
                    if code == _BINFLOAT:
                        stack.append(_unpack_double(content, place)[0])
                        place += 8
                    elif code == _BININT1:
                        stack.append(content[place])
                        place += 1
                    elif code == _LONG_BINGET:
                        stack.append(kept[_unpack_int(content, place)[0]])
                        place += 4
                    elif code == _MEMOIZE:
                        kept.append(stack[-1])
                    else:
                        break
                self.place = place
                if code == _STOP:
                    return stack.pop()
                instruction = _INSTRUCTIONS.get(code) or self.dialect.instructions.get(code)
                if instruction is None:
                    raise self.unknown(code)
                instruction(self)
                place = self.place
        except (IndexError, struct.error) as error:
            if max(place, self.place) >= len(content) or isinstance(error, struct.error):
                raise RefusedError("is truncated") from None
            raise RefusedError(f"is damaged: an instruction before byte {place} lacks what it works on") from None

    def unknown(self, code: int) -> RefusedError:
        """The error for an instruction that plain data does not need."""
        if code in _REFUSED:
            return RefusedError(f"asks for {_REFUSED[code]}, {_ATTACK}")
        return RefusedError(f"is damaged or of an unknown form: instruction {bytes([code])!r} at byte {self.place - 1}")

    def number(self, form: struct.Struct) -> Any:
        """The number that follows the instruction."""
        (value,) = form.unpack_from(self.content, self.place)
        self.place += form.size
        return value

    def bytes_of(self, form: struct.Struct) -> bytes:
        """The bytes that follow the instruction, after their number."""
        length = self.number(form)
        start = self.place
        if not 0 <= length <= len(self.content) - start:
            raise RefusedError(f"is damaged: a text of {length} bytes, in a file of {len(self.content)}")
        self.place = end = start + length
        return self.content[start:end]

    def name(self, module: Any, name: Any) -> None:
        """Push one of the functions that are known."""
        found = self.dialect.functions.get((module, name)) if type(module) is type(name) is str else None
        if found is None:
            asked = f"{module}.{name}"[:200] if type(module) is type(name) is str else "a name that is none"
            raise RefusedError(f"asks for {asked!r}, {_ATTACK}")
        self.stack.append(found)

    def line(self) -> str:
        """The text up to the end of the line."""
        end = self.content.find(b"\n", self.place, self.place + 1000)
        if end < 0:
            raise RefusedError("is damaged: a name without an end")
        start, self.place = self.place, end + 1
        return self.content[start:end].decode("utf-8", "replace")

    def container(self) -> None:
        """Charge a container."""
        self.containers -= 1
        if self.containers < 0:
            raise RefusedError(f"has more than {self.allowed:,} containers, {_ATTACK}")

    def mark(self) -> None:
        """Begin a row of items."""
        self.container()
        self.outer.append(self.stack)
        self.stack = []

    def marked(self) -> list[Any]:
        """End a row of items, and return them."""
        items, self.stack = self.stack, self.outer.pop()
        return items

    def keep(self, place: int) -> None:
        """Keep what is on top of the stack."""
        if place < len(self.kept):
            self.kept[place] = self.stack[-1]
        elif place == len(self.kept):
            self.kept.append(self.stack[-1])
        elif place == self.dialect.first and not self.kept:
            self.kept = [None] * place + [self.stack[-1]]
        else:
            raise RefusedError(f"is damaged: it keeps value {place} before value {len(self.kept)}")

    def put_tuple(self, items: Iterable[Any]) -> None:
        """Push a tuple."""
        self.container()
        self.stack.append(tuple(items))

    def put_last(self, count: int) -> None:
        """Push a tuple of the last items."""
        if len(self.stack) < count:
            raise IndexError
        items = self.stack[-count:]
        del self.stack[-count:]
        self.put_tuple(items)

    def put_empty(self, value: Any) -> None:
        """Push an empty container."""
        self.container()
        self.stack.append(value)

    def top(self, kind: type) -> Any:
        """The container on top of the stack."""
        found = self.stack[-1]
        if type(found) is not kind:
            raise RefusedError(f"is damaged: it fills a {type(found).__name__} as if it were a {kind.__name__}")
        return found

    def set_items(self, items: Sequence[Any]) -> None:
        """Fill the dictionary on top of the stack."""
        found, keys = self.top(dict), items[::2]
        if len(items) % 2:
            raise RefusedError("is damaged: a key without a value")
        self.hashing(keys, len(found))
        found.update(zip(keys, items[1::2], strict=True))

    def add_items(self, items: Sequence[Any]) -> None:
        """Fill the set on top of the stack."""
        found = self.top(set)
        self.hashing(items, len(found))
        found.update(items)

    def put_frozen(self, items: Sequence[Any]) -> None:
        """Push a frozen set."""
        self.container()
        self.hashing(items, 0)
        self.stack.append(frozenset(items))

    def hashing(self, keys: Sequence[Any], present: int) -> None:
        """Charge the hashing of keys that join so many present ones."""
        kinds = set(map(type, keys))
        if int in kinds and any(type(key) is int and abs(key) >= hash_info.modulus for key in keys):
            raise RefusedError(f"has an integer of more than {hash_info.modulus.bit_length()} bits as key, {_ATTACK}")
        nested = kinds - _SCALARS
        if not nested:
            return
        if present + len(keys) > _NESTED_KEYS:
            raise RefusedError(f"has a dictionary or set of more than {_NESTED_KEYS:,} tuples, {_ATTACK}")
        # a tuple does not remember its hash: what is shared is hashed again wherever it stands
        pending = [(key, 1) for key in keys]
        while pending:
            key, depth = pending.pop()
            if type(key) in (tuple, frozenset):
                self.hashed -= 1 + len(key)
                if self.hashed < 0:
                    raise RefusedError(f"has keys that grow far beyond its {len(self.content):,} bytes, {_ATTACK}")
                if depth > _DEPTH:
                    raise RefusedError(f"has a key nested more than {_DEPTH} times, {_ATTACK}")
                pending.extend((part, depth + 1) for part in key)
            elif type(key) not in _SCALARS:
                raise RefusedError(f"is damaged: a {type(key).__name__} as key")

    def producing(self, count: int) -> None:
        """Charge elements and bytes that a call makes out of what is already there."""
        self.produced -= count
        if self.produced < 0:
            raise RefusedError(f"makes far more than its {len(self.content):,} bytes, {_ATTACK}")

    def call(self) -> None:
        """Call a known function."""
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not Function or type(arguments) is not tuple:
            raise RefusedError(f"asks to call a {type(function).__name__}, {_ATTACK}")
        self.stack.append(function.call(self, *arguments))

    def change(self) -> None:
        """Give a stand-in its state."""
        state, found = self.stack.pop(), self.stack[-1]
        if not isinstance(found, StandIn):
            kind = "function" if type(found) is Function else type(found).__name__
            raise RefusedError(f"asks to change a {kind}, {_ATTACK}")
        found.change(self, state)


class StandIn(ABC):
    """What a function makes in place of an object of a class; its state comes after it."""

    __slots__ = ()

    @abstractmethod
    def change(self, machine: Machine, state: object) -> None:
        """Take over the state, or refuse it.

        Args:
            machine: whose budgets pay.
            state: as the pickle has it.

        Raises:
            RefusedError: when it is no state of such an object.
        """


@final
class _Dtype(StandIn):
    """Stands in for `numpy.dtype`: a numeric type, and its byte order once that arrives."""

    __slots__ = ("kind", "order")

    def __init__(self, kind: str) -> None:
        self.kind, self.order = kind, "<"

    def change(self, machine: Machine, state: object) -> None:
        """Take over the byte order."""
        self.order = ">" if type(state) is tuple and state[1:2] == (">",) else "<"


@final
class Function:
    """A function that a pickle may call."""

    __slots__ = ("call",)

    def __init__(self, call: Callable[..., Any]) -> None:
        self.call = call


_FORMS = {"b1": "?", "i1": "b", "u1": "B", "i2": "h", "u2": "H", "i4": "i", "u4": "I", "i8": "q", "u8": "Q"}
_FORMS |= {"f2": "e", "f4": "f", "f8": "d"}


def _dtype(machine: Machine, kind: object, *flags: object) -> _Dtype:
    if type(kind) is not str or kind not in _FORMS:
        raise RefusedError(f"asks for numbers of type {kind[:40] if type(kind) is str else type(kind)!r}, {_ATTACK}")
    machine.container()
    return _Dtype(kind)


def _scalar(machine: Machine, dtype: object, content: object) -> Any:
    if type(dtype) is not _Dtype or type(content) not in (bytes, str) or len(content) > 8:  # type: ignore[arg-type]
        raise RefusedError("is damaged: a number that has no bytes")
    raw = content.encode("latin1") if isinstance(content, str) else content
    return struct.unpack(dtype.order + _FORMS[dtype.kind], raw)[0]  # type: ignore[arg-type]


def _ordered(machine: Machine, items: object = ()) -> dict[Any, Any]:
    machine.container()
    pairs = _elements(machine, items)
    if not all(type(pair) in (tuple, list) and len(pair) == 2 for pair in pairs):
        raise RefusedError("is damaged: a dictionary of something else than pairs")
    machine.hashing([key for key, _ in pairs], 0)
    return dict(pairs)


def _set(machine: Machine, items: object = ()) -> set[Any]:
    machine.container()
    elements = _elements(machine, items)
    machine.hashing(elements, 0)
    return set(elements)


def _elements(machine: Machine, items: object) -> Sequence[Any]:
    """What a container is made of, charged."""
    if not isinstance(items, tuple | list):
        raise RefusedError(f"is damaged: a container of a {type(items).__name__}")
    machine.producing(len(items))
    return items


def no_bytes(machine: Machine) -> bytes:
    """The empty bytes of protocol 2."""
    return b""


def latin1(machine: Machine, text: object, encoding: object) -> bytes:
    """Bytes of protocol 2, which had no instruction for them."""
    if type(encoding) is not str or encoding != "latin1" or type(text) is not str:
        raise RefusedError(f"asks for text in another encoding than latin1, {_ATTACK}")
    machine.producing(len(text))
    return text.encode("latin1")


_FUNCTIONS: dict[tuple[str, str], Function] = {
    ("collections", "OrderedDict"): Function(_ordered),
    ("_codecs", "encode"): Function(latin1),
    ("numpy", "dtype"): Function(_dtype),
    **{(f"numpy.{core}.multiarray", "scalar"): Function(_scalar) for core in ("core", "_core")},
    **{(module, "set"): Function(_set) for module in ("builtins", "__builtin__")},
    **{(module, "bytes"): Function(no_bytes) for module in ("builtins", "__builtin__")},
}

_RECORD = Dialect(_FUNCTIONS)
_BYTE, _SHORT, _INT, _SIGNED, _LONG = map(struct.Struct, ("<B", "<H", "<I", "<i", "<Q"))
_unpack_int, _unpack_double = _INT.unpack_from, struct.Struct(">d").unpack_from
_STOP, _BINFLOAT, _BININT1, _LONG_BINGET, _MEMOIZE = b".GKj\x94"


def _pushes(value: Any) -> Instruction:
    return lambda machine: machine.stack.append(value)


def _pushes_number(form: struct.Struct) -> Instruction:
    unpack, size = form.unpack_from, form.size

    def push(machine: Machine) -> None:
        machine.stack.append(unpack(machine.content, machine.place)[0])
        machine.place += size

    return push


def _short_text(machine: Machine) -> None:
    content, start = machine.content, machine.place + 1
    machine.place = end = start + content[start - 1]
    if end > len(content):
        raise RefusedError("is truncated")
    machine.stack.append(content[start:end].decode("utf-8", "surrogatepass"))


def _pushes_text(form: struct.Struct, encoding: str = "utf-8") -> Instruction:
    return lambda machine: machine.stack.append(machine.bytes_of(form).decode(encoding, "surrogatepass"))


def _pushes_bytes(form: struct.Struct) -> Instruction:
    return lambda machine: machine.stack.append(machine.bytes_of(form))


def _pushes_kept(form: struct.Struct) -> Instruction:
    return lambda machine: machine.stack.append(machine.kept[machine.number(form)])


def _keeps(form: struct.Struct) -> Instruction:
    return lambda machine: machine.keep(machine.number(form))


def _integer(machine: Machine) -> None:
    machine.stack.append(int.from_bytes(machine.bytes_of(_BYTE), "little", signed=True))


def _append(machine: Machine) -> None:
    item = machine.stack.pop()
    machine.top(list).append(item)


def _appends(machine: Machine) -> None:
    items = machine.marked()
    machine.top(list).extend(items)


def _set_item(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.set_items((key, value))


def _named(machine: Machine) -> None:
    name, module = machine.stack.pop(), machine.stack.pop()
    machine.name(module, name)


def _frame(machine: Machine) -> None:
    if machine.number(_LONG) > len(machine.content) - machine.place:
        raise RefusedError("is damaged: a frame that is longer than the file")


# By the names of the standard library's pickletools; `run` has the others.
_INSTRUCTIONS: dict[int, Instruction] = {
    ord(code): act
    for code, act in (
        ("\x80", lambda machine: machine.number(_BYTE)),  # PROTO
        ("\x95", _frame),  # FRAME
        ("N", _pushes(None)),  # NONE
        ("\x88", _pushes(True)),  # NEWTRUE
        ("\x89", _pushes(False)),  # NEWFALSE
        ("M", _pushes_number(_SHORT)),  # BININT2
        ("J", _pushes_number(_SIGNED)),  # BININT
        ("\x8a", _integer),  # LONG1
        ("U", _pushes_text(_BYTE, "latin1")),  # SHORT_BINSTRING
        ("T", _pushes_text(_SIGNED, "latin1")),  # BINSTRING
        ("\x8c", _short_text),  # SHORT_BINUNICODE
        ("X", _pushes_text(_INT)),  # BINUNICODE
        ("\x8d", _pushes_text(_LONG)),  # BINUNICODE8
        ("C", _pushes_bytes(_BYTE)),  # SHORT_BINBYTES
        ("B", _pushes_bytes(_INT)),  # BINBYTES
        ("\x8e", _pushes_bytes(_LONG)),  # BINBYTES8
        ("h", _pushes_kept(_BYTE)),  # BINGET
        ("q", _keeps(_BYTE)),  # BINPUT
        ("r", _keeps(_INT)),  # LONG_BINPUT
        ("(", Machine.mark),  # MARK
        (")", lambda machine: machine.put_tuple(())),  # EMPTY_TUPLE
        ("\x85", lambda machine: machine.put_last(1)),  # TUPLE1
        ("\x86", lambda machine: machine.put_last(2)),  # TUPLE2
        ("\x87", lambda machine: machine.put_last(3)),  # TUPLE3
        ("t", lambda machine: machine.put_tuple(machine.marked())),  # TUPLE
        ("]", lambda machine: machine.put_empty([])),  # EMPTY_LIST
        ("a", _append),  # APPEND
        ("e", _appends),  # APPENDS
        ("}", lambda machine: machine.put_empty({})),  # EMPTY_DICT
        ("s", _set_item),  # SETITEM
        ("u", lambda machine: machine.set_items(machine.marked())),  # SETITEMS
        ("\x8f", lambda machine: machine.put_empty(set())),  # EMPTY_SET
        ("\x90", lambda machine: machine.add_items(machine.marked())),  # ADDITEMS
        ("\x91", lambda machine: machine.put_frozen(machine.marked())),  # FROZENSET
        ("c", lambda machine: machine.name(machine.line(), machine.line())),  # GLOBAL
        ("\x93", _named),  # STACK_GLOBAL
        ("R", Machine.call),  # REDUCE
        ("b", Machine.change),  # BUILD
    )
}
_REFUSED = {
    **dict.fromkeys(b"PQ", "an object outside of the file"),
    **dict.fromkeys(b"\x82\x83\x84", "a registered extension"),
    **dict.fromkeys(b"io\x81\x92", "an instance of a class"),
    0x96: "a byte array",
    0x97: "a buffer outside of the file",
    0x98: "a buffer outside of the file",
}
