"""Arrays on a GPU, from and to others by DLPack (dmlc.github.io/dlpack, its unversioned capsules), which Triton's
python backend, torch and CuPy speak. Standalone: ctypes only."""

from __future__ import annotations

import ctypes
import itertools
from collections.abc import Callable
from typing import Any

CUDA, FLOAT, NAME, USED = 2, 2, b"dltensor", b"used_dltensor"


class DlTensor(ctypes.Structure):
    _fields_ = [
        ("data", ctypes.c_void_p),
        ("device_type", ctypes.c_int32),
        ("device_id", ctypes.c_int32),
        ("ndim", ctypes.c_int32),
        ("code", ctypes.c_uint8),
        ("bits", ctypes.c_uint8),
        ("lanes", ctypes.c_uint16),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("strides", ctypes.POINTER(ctypes.c_int64)),
        ("byte_offset", ctypes.c_uint64),
    ]


class DlManaged(ctypes.Structure):
    pass


Deleter = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
Destructor = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
DlManaged._fields_ = [("tensor", DlTensor), ("context", ctypes.c_void_p), ("deleter", Deleter)]

_api = ctypes.pythonapi
_api.PyCapsule_New.restype = ctypes.py_object
_api.PyCapsule_New.argtypes = [ctypes.c_void_p, ctypes.c_char_p, Destructor]
_api.PyCapsule_GetPointer.restype = ctypes.c_void_p
_api.PyCapsule_GetPointer.argtypes = [ctypes.py_object, ctypes.c_char_p]
_api.PyCapsule_SetName.argtypes = [ctypes.py_object, ctypes.c_char_p]
_of_address = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", _api))
_is_named = ctypes.PYFUNCTYPE(ctypes.c_int, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_IsValid", _api))


class TensorError(ValueError):
    """What was given isn't rows of float32 on this GPU."""


class Rows:
    """Somebody's float32 [n, columns] while this lives: ``address``, ``stride`` in floats from row to row."""

    def __init__(self, given: Any, device: tuple[int, int], stream: int | None) -> None:
        """``given`` has ``__dlpack__``, or is a capsule. ``device``: DLPack's type and number of where it must be;
        ``stream``: the CUDA stream that is going to read it."""
        self._managed: Any = None
        if hasattr(given, "__dlpack__"):
            capsule = given.__dlpack__() if stream is None else given.__dlpack__(stream=stream)
        else:
            capsule = given.to_dlpack() if hasattr(given, "to_dlpack") else given
        managed = ctypes.cast(_api.PyCapsule_GetPointer(capsule, NAME), ctypes.POINTER(DlManaged))
        _api.PyCapsule_SetName(capsule, USED)
        self._managed = managed
        one = managed.contents.tensor
        self._require(one, device)
        self.n, self.columns = int(one.shape[0]), int(one.shape[1])
        self.stride = int(one.strides[0]) if one.strides and self.n > 1 else self.columns
        if one.strides and self.columns > 1 and one.strides[1] != 1:
            raise TensorError("the numbers of a row must be contiguous")
        self.address = int(one.data or 0) + int(one.byte_offset)

    def _require(self, one: DlTensor, device: tuple[int, int]) -> None:
        if (one.device_type, one.device_id) != device:
            raise TensorError(
                f"the tensor is on DLPack device {one.device_type}:{one.device_id}; expected {device[0]}:{device[1]}"
            )
        if (one.code, one.bits, one.lanes) != (FLOAT, 32, 1) or one.ndim != 2:
            raise TensorError("the tensor must be float32 with two dimensions")

    def close(self) -> None:
        """Gives it back to whoever made it."""
        managed, self._managed = self._managed, None
        if managed is not None and managed.contents.deleter:
            managed.contents.deleter(ctypes.cast(managed, ctypes.c_void_p))

    def __del__(self) -> None:
        self.close()


class Owned:
    """Memory of the GPU that goes when nobody has it any more."""

    def __init__(self, address: int, free: Callable[[int], None]) -> None:
        self.address, self._free = address, free

    def __del__(self) -> None:
        self._free(self.address)


class Answers:
    """float32 [n, columns] at ``offset`` bytes of memory of ours, for whoever takes it by DLPack."""

    def __init__(self, memory: Owned, offset: int, shape: tuple[int, int], device: tuple[int, int]) -> None:
        self.memory, self.offset, self.shape, self._device = memory, offset, shape, device

    def __dlpack_device__(self) -> tuple[int, int]:
        return self._device

    def __dlpack__(self, *, stream: Any = None, **_newer: Any) -> Any:
        """A capsule. What made the answers is done already, so no stream has to wait."""
        shape = (ctypes.c_int64 * 2)(*self.shape)
        one = DlTensor(
            self.memory.address + self.offset,
            *self._device,
            2,
            FLOAT,
            32,
            1,
            ctypes.cast(shape, ctypes.POINTER(ctypes.c_int64)),
            None,
            0,
        )
        key = next(_keys)
        managed = DlManaged(one, key, _deleter)
        _given[key] = (self.memory, shape, managed)
        return _api.PyCapsule_New(ctypes.addressof(managed), NAME, _destructor)


_keys = itertools.count(1)
_given: dict[int, tuple[Any, ...]] = {}
"""What is in others' hands, by the number that its context says."""


def _drop(address: int) -> None:
    """The deleter of our capsules: their consumer is done."""
    managed = ctypes.cast(address, ctypes.POINTER(DlManaged)).contents
    _given.pop(int(managed.context), None)


def _unused(capsule: int) -> None:
    """The destructor: a capsule that nobody took."""
    if _is_named(capsule, NAME):
        _drop(_of_address(capsule, NAME))


_deleter, _destructor = Deleter(_drop), Destructor(_unused)
