"""Files as bytes: opened without blocking, identified by a stamp, written whole, and guarded by a keyed digest.

Nothing here knows what a file holds, or where the cache lies.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

_DIGEST_SIZE = 16


class FileStamp(NamedTuple):
    """What tells a file from another one in its place: time of change in ns, size in bytes, inode number (signed)."""

    changed: int
    size: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileStamp:
        """The stamp of a file with this status."""
        return cls(status.st_mtime_ns, status.st_size, (status.st_ino + (1 << 63)) % (1 << 64) - (1 << 63))


def changed_at(folder: str) -> int:
    """When an entry was last added to a folder or removed from it, in ns. Raises `OSError`.

    Copying tools set the modification time back to that of the original, but not the time of the status change.
    """
    status = os.stat(folder)  # noqa: PTH116 (on the hot path)
    return max(status.st_mtime_ns, status.st_ctime_ns)


@contextlib.contextmanager
def open_regular(path: str) -> Iterator[tuple[int, os.stat_result]]:
    """A regular file's descriptor and status; a named pipe in its place does not block. Raises `OSError`."""
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is not a regular file")
        yield file, status
    finally:
        os.close(file)


def read_whole(path: str) -> bytes:
    """The content of a file. Raises `OSError`."""
    with open_regular(path) as (file, status):
        return os.read(file, status.st_size)


def write_whole(path: Path, content: Iterable[bytes]) -> None:
    """Write a file that appears whole or not at all. Raises `OSError`.

    The temporary name is the same each time, so that a killed writer leaves at most one behind.
    """
    temporary = path.with_name(f".{path.name}.tmp")
    try:
        temporary.unlink(missing_ok=True)
        with temporary.open("xb") as file:
            file.writelines(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def with_digest(content: bytes, key: str) -> bytes:
    """Content behind a digest of itself and a key, to be stored."""
    return _digest(content, key) + content


def without_digest(stored: bytes, key: str) -> memoryview | None:
    """The content that was stored under this key; None where the digest does not match."""
    content = memoryview(stored)[_DIGEST_SIZE:]
    return content if stored[:_DIGEST_SIZE] == _digest(content, key) else None


def _digest(content: bytes | memoryview, key: str) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_SIZE, key=hashlib.sha256(key.encode()).digest()).digest()
