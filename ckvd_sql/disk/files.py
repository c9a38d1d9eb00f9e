"""Files as bytes: opened without blocking, identified by a stamp, written whole, and guarded by a keyed digest.

What is created follows the umask, but others may write into it only where the user shares it. Nothing here knows what
a file holds, or where the cache lies.
"""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import secrets
import stat
import time
from enum import StrEnum
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator
    from pathlib import Path

#: The process has too many open files, or no address space for one more; the files are as good as before.
OUT_OF_RESOURCES = (errno.EMFILE, errno.ENFILE, errno.ENOMEM)

_DIGEST_SIZE = 16

_LARGEST = 1 << 26  # bytes; what is read whole is never as large, and a damaged disk may say any size

#: The clock that file systems take times from advances in steps of at most 10 ms; ns, with a margin.
_TICK = 50_000_000
_COARSE_TICK = 2_100_000_000

#: Modes of what is created, before the umask: nobody but the owner may write. What is written whole is replaced and
#: never changed, so that nobody may write into it: a copying tool that would truncate a file that others have mapped,
#: and so kill them, is refused or replaces it.
_WHOLE_MODE, _FILE_MODE, _FOLDER_MODE = 0o444, 0o644, 0o755


class Shared(StrEnum):
    """Who else may use what is created, whatever the umask; as git's `core.sharedRepository`."""

    OFF = "off"
    GROUP = "group"
    ALL = "all"

    def apply(self, file: int) -> None:
        """Add the permissions to a file or folder, given its descriptor. A disk that refuses is no error."""
        if self is Shared.OFF:
            return
        mode = stat.S_IMODE((status := os.fstat(file)).st_mode)
        if stat.S_ISDIR(status.st_mode):  # its group goes to whatever is created in it
            mode |= 0o2770 if self is Shared.GROUP else 0o2775
        else:
            others = stat.S_IRGRP if self is Shared.GROUP else stat.S_IRGRP | stat.S_IROTH
            mode |= others | (stat.S_IWGRP if mode & stat.S_IWUSR else 0)
        with contextlib.suppress(OSError):
            os.fchmod(file, mode)


class FileStamp(NamedTuple):
    """What tells a file from another one in its place, or from itself before it was overwritten.

    Attributes:
        modified: The time of its last modification in ns, which copying tools set back to that of the original.
        changed: The time of its last change of any kind in ns.
        size: Its size in bytes.
        inode: Its inode number, as a signed number.
    """

    modified: int
    changed: int
    size: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> FileStamp:
        """The stamp of a file with this status."""
        inode = (status.st_ino + (1 << 63)) % (1 << 64) - (1 << 63)
        return cls(*_times(status), status.st_size, inode)

    @classmethod
    def of_path(cls, path: str) -> FileStamp | None:
        """The stamp of the file at a path as it is now; None where there is none."""
        try:
            return cls.of(os.stat(path))  # noqa: PTH116 (on the hot path)
        except OSError:
            return None


def is_settled(changed: int) -> bool:
    """Whether a change at this time (ns) is so long ago that a later one would have another time.

    The rule of git for racily clean entries. Times without a fraction of a second are taken for those of a file system
    that counts seconds, or two of them.
    """
    tick = _COARSE_TICK if changed % 1_000_000_000 == 0 else _TICK
    return time.time_ns() - changed > tick


def changed_at(folder: str) -> int:
    """When an entry was last added to a folder or removed from it, in ns. Raises `OSError`.

    Copying tools set the modification time back to that of the original, but not the time of the status change.
    """
    return max(_times(os.stat(folder)))  # noqa: PTH116 (on the hot path)


def change_times(paths: Iterable[str]) -> list[int] | None:
    """When each of these files was last changed in any way, in ns; None where one is gone."""
    try:
        return [_times(os.stat(path))[1] for path in paths]  # noqa: PTH116 (on the hot path)
    except OSError:
        return None


def _times(status: os.stat_result) -> tuple[int, int]:
    return status.st_mtime_ns, status.st_ctime_ns


@contextlib.contextmanager
def open_regular(path: str, *, follow: bool = False) -> Iterator[tuple[int, os.stat_result]]:
    """A regular file's descriptor and status; a named pipe in its place does not block. Raises `OSError`.

    A symbolic link in its place is an error too, unless it is to be followed.
    """
    file = os.open(path, os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW))
    try:
        status = os.fstat(file)
        if not stat.S_ISREG(status.st_mode):
            raise OSError("it is not a regular file")
        yield file, status
    finally:
        os.close(file)


def read_whole(path: str) -> bytes:
    """The content of a file that is not large. Raises `OSError`."""
    with open_regular(path) as (file, status):
        if status.st_size > _LARGEST:
            raise OSError(f"it has {status.st_size} bytes")
        return os.read(file, status.st_size)


def make_folder(path: Path, root: Path, shared: Shared = Shared.OFF) -> None:
    """Make a folder and those above it, unless they are there. Raises `OSError`.

    Only from `root` downwards they are shared.
    """
    if path.is_dir():
        return
    if path.parent != path:
        make_folder(path.parent, root, shared)
    path.mkdir(_FOLDER_MODE, exist_ok=True)  # another process may have been faster
    if shared is not Shared.OFF and path.is_relative_to(root):
        file = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            shared.apply(file)
        finally:
            os.close(file)


def create(path: Path, shared: Shared = Shared.OFF, mode: int = _FILE_MODE) -> int:
    """The descriptor of a new file, for reading and writing. Raises `OSError`, also where anything has this name."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode)
    shared.apply(file)
    return file


def write_whole(
    path: Path, content: Iterable[bytes], shared: Shared = Shared.OFF, *, alone: bool = True, durable: bool = True
) -> None:
    """Write a read-only file that appears whole or not at all. Raises `OSError`.

    Args:
        path: The file; a link in its place is replaced, and what it points to is not touched.
        content: Its bytes.
        shared: Who else may use it.
        alone: Whether nobody else can be writing it. Then the temporary file has the same name each time, so that a
            killed writer leaves at most one behind.
        durable: Whether it must survive a loss of power from now on.
    """
    file, temporary = _create_beside(path, shared, alone=alone)
    try:
        with os.fdopen(file, "wb") as writer:
            writer.writelines(content)
            writer.flush()
            if durable:
                os.fsync(file)
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise


def _create_beside(path: Path, shared: Shared, *, alone: bool) -> tuple[int, Path]:
    """A new temporary file beside one: its descriptor and path. Raises `OSError`."""
    if alone:
        temporary = path.with_name(f".{path.name}.tmp")
        with contextlib.suppress(OSError):  # what has its name can't be deleted: a folder, say
            temporary.unlink(missing_ok=True)
            return create(temporary, shared, _WHOLE_MODE), temporary
    temporary = path.with_name(f".{path.name}.{secrets.token_hex(8)}.tmp")
    return create(temporary, shared, _WHOLE_MODE), temporary


def with_digest(content: bytes, key: str) -> bytes:
    """Content behind a digest of itself and a key, to be stored."""
    return _digest(content, key) + content


def without_digest(stored: bytes, key: str) -> memoryview | None:
    """The content that was stored under this key; None where the digest does not match."""
    content = memoryview(stored)[_DIGEST_SIZE:]
    return content if stored[:_DIGEST_SIZE] == _digest(content, key) else None


def _digest(content: bytes | memoryview, key: str) -> bytes:
    return hashlib.blake2b(content, digest_size=_DIGEST_SIZE, key=hashlib.sha256(key.encode()).digest()).digest()
