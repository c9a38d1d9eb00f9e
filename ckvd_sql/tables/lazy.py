"""Record batches from a generator as an Arrow stream whose errors read well in SQL.

DuckDB shows the text of whatever breaks a stream. Out of a plain generator that text ends in a Python traceback;
out of this reader it is the error's class and sentence (and, in the midst of a stream, the same once more).
"""

from __future__ import annotations

import ctypes
import itertools
from typing import TYPE_CHECKING

import pyarrow as pa

from ckvd_sql.errors import CkvdError

if TYPE_CHECKING:
    from collections.abc import Iterator


class StreamError(OSError):
    """An error's class name and sentence, on their way through Arrow to DuckDB."""


# pyarrow puts the traceback of an exception that ends an iterator into the message, beginning with the frame that
# raised it. Raised by a C function called from a C iterator, it has no frame and so no traceback.
_raise = ctypes.pythonapi.PyErr_SetObject
_raise.argtypes = (ctypes.py_object, ctypes.py_object)
_raise.restype = None


def reader(schema: pa.Schema, parts: Iterator[list[pa.RecordBatch]]) -> pa.RecordBatchReader:
    """A reader of lists of batches, which closes the generator when it is let go.

    The first list is made at once: an error there is raised as it is, and most errors show with the first batch.
    No Python runs between the batches of a list.
    """
    first = list(itertools.islice(parts, 1))
    failed: list[StreamError] = []

    def guarded() -> Iterator[list[pa.RecordBatch]]:
        try:
            while first:
                yield first.pop()
            yield from parts
        except CkvdError as error:
            failed.append(StreamError(error.sentence))

    ending = map(_raise, map(type, failed), failed)  # looked at only after the batches, and empty if all went well
    batches = itertools.chain(itertools.chain.from_iterable(guarded()), ending)
    return pa.RecordBatchReader.from_batches(schema, batches)
