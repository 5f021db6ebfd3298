"""Read pickles of NumPy arrays without running what they ask for, by themselves or in an array file (`.npy`).

A pickle is a program. `pickle.load` runs it: any function that it names, with any arguments. Here a small machine of our own walks
through the instructions that `pickletools` decodes. It knows plain values and containers, and the handful of names that NumPy's pickles
contain, which are marks to it and not the functions; everything else is refused. Nothing is imported or called, so nothing can be run.
"""

import mmap
import pickletools
import warnings
from enum import Enum
from pathlib import Path
from typing import IO, Any, TypeVar, cast

import numpy as np

from somaseg.errors import InputError

T = TypeVar("T")


class _Name(Enum):
    """Names that pickles of arrays contain."""

    ARRAY = "numpy.ndarray"
    DTYPE = "numpy.dtype"
    RECONSTRUCT = "multiarray._reconstruct"
    FROM_BUFFER = "numeric._frombuffer"
    SCALAR = "multiarray.scalar"
    ENCODE = "_codecs.encode"
    BYTES = "builtins.bytes"
    ORDERED_DICT = "collections.OrderedDict"


# NumPy 2 calls `numpy.core` `numpy._core`; Python 3 calls `__builtin__` `builtins`.
NAMES = {name.value: name for name in _Name} | {"__builtin__.bytes": _Name.BYTES} | {
    f"numpy.{core}.{name.value}": name
    for core in ("core", "_core")
    for name in (_Name.RECONSTRUCT, _Name.FROM_BUFFER, _Name.SCALAR)
}  # fmt: skip
VALUES = {
    "INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT",
    "STRING", "BINSTRING", "SHORT_BINSTRING", "UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8",
    "BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8",
}  # fmt: skip
CONSTANTS: dict[str, Any] = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
OBJECT = "O8"  # of an array that holds one object, as `numpy.save` wraps a dictionary
DTYPES = {OBJECT, "b1", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "f2", "f4", "f8"}


class _Dtype:
    """Type of an array: code, then byte order."""

    def __init__(self, code: str) -> None:
        if code not in DTYPES:
            raise ValueError(f"an array of type {code!r:.40}")
        self.code, self.order = code, "<"

    def build(self, state: tuple[Any, ...]) -> None:
        if state[1] not in ("<", ">", "|", "="):
            raise ValueError(f"byte order {state[1]!r:.40}")
        self.order = state[1]

    @property
    def numpy(self) -> np.dtype[Any]:
        if self.code == OBJECT:
            raise RefusedError("an array of objects")
        return np.dtype(self.order + self.code)


class _Array:
    """An array, empty until its content comes."""

    def __init__(self) -> None:
        self.array: Any = None

    def build(self, shape: tuple[int, ...], dtype: _Dtype, fortran: bool, data: bytes | bytearray) -> "_Array":
        # A view of the pickle's bytes, so that an array never takes more memory than the file has bytes for it.
        flat = np.frombuffer(data, dtype.numpy)
        self.array = flat.reshape(shape, order="F" if fortran else "C")
        return self


class RefusedError(Exception):
    """The pickle asks for what arrays do not need."""


class _Machine:
    """Stack and memory of one pickle."""

    def __init__(self, size: int) -> None:
        self.stack: list[Any] = []
        self.marked: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.encodable = size

    def run(self, program: mmap.mmap) -> Any:
        for opcode, argument, _ in pickletools.genops(cast(IO[bytes], program)):
            if opcode.name == "STOP":
                return self.stack.pop()
            self.step(opcode.name, argument)
        raise ValueError("it has no end")  # pragma: no cover  genops raises before

    def step(self, name: str, argument: Any) -> None:
        """Do what one instruction says; see `pickletools.dis`."""
        stack = self.stack
        if name in VALUES:
            stack.append(argument)
            return
        if name in CONSTANTS:
            stack.append(CONSTANTS[name])
            return
        match name:
            case "PROTO" | "FRAME":
                pass
            case "MARK":
                self.marked.append(stack)
                self.stack = []
            case "POP":
                stack.pop()
            case "DUP":
                stack.append(stack[-1])
            case "EMPTY_LIST":
                stack.append([])
            case "EMPTY_DICT":
                stack.append({})
            case "LIST" | "TUPLE" | "DICT":
                items = self.since_mark()
                self.stack.append(items if name == "LIST" else tuple(items) if name == "TUPLE" else _fill({}, items))
            case "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = int(name[-1])
                items = [stack.pop() for _ in range(count)]
                stack.append(tuple(reversed(items)))
            case "APPEND" | "APPENDS" | "SETITEM" | "SETITEMS":
                self.put(name)
            case "PUT" | "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "GET" | "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                stack.append(_name(str(argument).replace(" ", ".")))
            case "STACK_GLOBAL":
                last, module = stack.pop(), stack.pop()
                stack.append(_name(f"{_kind(module, str)}.{_kind(last, str)}"))
            case "REDUCE":
                arguments, what = _kind(stack.pop(), tuple), stack.pop()
                stack.append(self.made(what, arguments))
            case "BUILD":
                state = _kind(stack.pop(), tuple)
                self.build(stack[-1], state)
            case _:
                raise RefusedError(f"the instruction {name}")

    def put(self, name: str) -> None:
        """Put what lies on the stack into the list or dictionary below it."""
        match name:
            case "APPEND":
                item = self.stack.pop()
                _kind(self.stack[-1], list).append(item)
            case "APPENDS":
                items = self.since_mark()
                _kind(self.stack[-1], list).extend(items)
            case "SETITEM":
                value, key = self.stack.pop(), self.stack.pop()
                _fill(self.stack[-1], [key, value])
            case "SETITEMS":
                items = self.since_mark()
                _fill(self.stack[-1], items)

    def since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self.marked.pop()
        return items

    def made(self, what: Any, arguments: tuple[Any, ...]) -> Any:
        """What a name with arguments stands for."""
        match what, arguments:
            case _Name.RECONSTRUCT, (_Name.ARRAY, *_):
                return _Array()
            case _Name.DTYPE, (str(code), *_):
                return _Dtype(code)
            case _Name.FROM_BUFFER, (bytes() | bytearray() as data, _Dtype() as dtype, tuple(shape), str(order)):
                return _Array().build(shape, dtype, order == "F", data)
            case _Name.SCALAR, (_Dtype() as dtype, data):
                return np.frombuffer(self.encoded(data), dtype.numpy, count=1)[0].item()
            case _Name.ENCODE, (str(text), str(codec)) if codec.replace("-", "") == "latin1":
                return self.encoded(text)
            case _Name.BYTES, ():  # older protocols have no other way to write none
                return b""
            case _Name.ORDERED_DICT, ():
                return {}
            case _Name.ORDERED_DICT, (list(pairs),):  # as Python 2 wrote it
                return _fill({}, [item for pair in pairs for item in _kind(pair, list)])
        raise RefusedError(f"a call of {what.value if isinstance(what, _Name) else type(what).__name__} with other arguments than NumPy's")

    def build(self, what: Any, state: tuple[Any, ...]) -> None:
        """Fill an object that was made empty."""
        match what, state:
            case _Dtype(), (_, str(), *_):
                what.build(state)
            case _Array(), (_, (), _Dtype(code=code), _, [wrapped]) if code == OBJECT:
                what.array = wrapped
            case _Array(), (_, tuple(shape), _Dtype() as dtype, bool() | int() as fortran, data):
                what.build(shape, dtype, bool(fortran), self.encoded(data))
            case _:
                raise RefusedError(f"a state for {type(what).__name__.lstrip('_')}")

    def encoded(self, data: Any) -> bytes | bytearray:
        """Bytes of an array; Python 2 wrote them as text. Refuses to make more of them than the file has."""
        if isinstance(data, bytes | bytearray):
            return data
        self.encodable -= len(_kind(data, str))
        if self.encodable < 0:
            raise RefusedError("more bytes than it has")
        encoded: bytes = data.encode("latin1")
        return encoded


def _name(name: str) -> _Name:
    if name not in NAMES:
        raise RefusedError(f"`{name:.80}`")
    return NAMES[name]


def _kind(value: Any, kind: type[T]) -> T:
    if not isinstance(value, kind):
        raise ValueError(f"found {type(value).__name__} where {kind.__name__} is needed")
    return value


def _fill(into: Any, items: list[Any]) -> dict[Any, Any]:
    """Keys and values in turn; keys are plain, since nested tuples may take forever to hash."""
    filled = _kind(into, dict)
    for key, value in zip(items[::2], items[1::2], strict=True):
        if not isinstance(key, str | bytes | int):
            raise RefusedError(f"a key that is a {type(key).__name__}")
        filled[key] = value
    return filled


def _content(value: Any) -> Any:
    return value.array if isinstance(value, _Array) else value


def read_pickle(path: Path, start: int = 0, what: str = "weights") -> Any:
    """What a pickle of arrays in plain containers holds; arrays are read-only, and of the file's byte order.

    Arrays are resolved in a dictionary and in the dictionaries in it, and not deeper.

    Args:
        path: the file.
        start: bytes before the pickle.
        what: it is of, for messages.

    Raises:
        InputError: when the file is cut off, is no pickle, or asks for anything that arrays and containers do not need.
    """
    try:
        with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as program, warnings.catch_warnings():
            warnings.simplefilter("ignore", DeprecationWarning)  # of Python's own decoder, on odd escapes in a damaged file
            program.seek(start)
            value = _content(_Machine(len(program)).run(program))
    except RefusedError as error:
        raise InputError(
            f"{path}: refused, and nothing in it was run: the pickle asks for {error}, but {what} are arrays in plain containers: "
            "get the file from a source you trust"
        ) from error
    except (OSError, ValueError, IndexError, KeyError, TypeError, OverflowError) as error:
        raise InputError(f"{path}: cannot be read as a pickle of {what} ({error}): the file may be cut off, copy it again") from error
    if not isinstance(value, dict):
        return value
    inner = {key: {k: _content(v) for k, v in item.items()} if isinstance(item, dict) else item for key, item in value.items()}
    return {key: _content(item) for key, item in inner.items()}
