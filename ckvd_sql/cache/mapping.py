"""A file's memory, mapped without keeping a descriptor of the file.

Python's `mmap` keeps one for each map until Python 3.13 (`trackfd`), so that a few hundred cached days would exhaust
the usual limit of 1,024 or 256 open files.
"""

from __future__ import annotations

import ctypes
import mmap
import os
from typing import TYPE_CHECKING

import pyarrow as pa

if TYPE_CHECKING:
    from collections.abc import Callable

_libc = ctypes.CDLL(None, use_errno=True)
_mmap = _libc.mmap
_mmap.restype = ctypes.c_void_p
_mmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_int64)
_munmap = _libc.munmap
_munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)

_FAILED = ctypes.c_void_p(-1).value


class _Map:
    """Unmaps the memory when the last buffer of it is gone."""

    __slots__ = ("_address", "_size")

    def __init__(self, address: int, size: int) -> None:
        self._address = address
        self._size = size

    def __del__(self, unmap: Callable[[int, int], int] = _munmap) -> None:
        unmap(self._address, self._size)


def map_file(file: int, size: int) -> pa.Buffer:
    """The first `size` bytes of an open file, read-only; the file may be closed at once. Raises `OSError`."""
    address = _mmap(None, size, mmap.PROT_READ, mmap.MAP_SHARED, file, 0)
    if address == _FAILED:
        error = ctypes.get_errno()
        raise OSError(error, os.strerror(error))
    return pa.foreign_buffer(address, size, _Map(address, size))
