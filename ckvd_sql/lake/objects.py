"""Objects in a folder or a bucket: read whole or by ranges, created once, replaced only where they are still the same.

Buckets are those of obstore (S3, Google, Azure): the one library of the field that has conditional writes for all of
them. A folder's objects are files that appear whole or not at all. Nothing here knows what an object holds.
"""

from __future__ import annotations

import hashlib
import io
import os
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Protocol
from urllib.parse import urlsplit
from urllib.request import url2pathname

import pyarrow as pa

from ckvd_sql.disk.files import FileStamp, make_folder, open_regular, write_whole
from ckvd_sql.disk.locks import LockFile
from ckvd_sql.errors import LakeError, SettingsError
from ckvd_sql.settings import DIRECT

if TYPE_CHECKING:
    from collections.abc import Callable

    from obstore import PutMode, ReadableFile
    from obstore.store import ClientConfig, ObjectStore, RetryConfig

    from ckvd_sql.settings import Settings

#: Without a byte for so long a bucket is down.
_PATIENCE = timedelta(seconds=5)

#: An object of more bytes is read by ranges: only months of 1s bars are.
_WHOLE = 16 << 20

_RANGE = 1 << 20

_LOCKS = ".locks"
_LOCK_FILES = 64


class Found(NamedTuple):
    """An object: its bytes as a file, and the tag that a replacement must name."""

    content: pa.NativeFile
    tag: str


class Objects(Protocol):
    """What a lake needs of the place that it lies in. Every method raises `LakeError` where that can't be reached."""

    def find(self, key: str, *, tail: bool = False) -> Found | None:
        """An object, by its key; None where there is none. With `tail` only its end will be read."""
        ...

    def create(self, key: str, content: bytes) -> bool:
        """Write an object, whole or not at all; False where there is one by this key."""
        ...

    def replace(self, key: str, content: bytes, tag: str) -> bool:
        """Write an object in place of the one with this tag; False where that has gone or was replaced."""
        ...


def objects_at(url: str, settings: Settings) -> Objects:
    """The objects below a lake's URL."""
    parts = urlsplit(url)
    return Folder(Path(url2pathname(parts.path)), settings) if parts.scheme == "file" else Bucket(url, settings)


class Folder:
    """A folder's files. Writers wait for each other; readers never do.

    Args:
        root: The folder.
        settings: Who else may write into it, and for how long another writer is waited for.
    """

    def __init__(self, root: Path, settings: Settings) -> None:
        self.root = root
        self._shared = settings.cache_shared
        self._patience = settings.timeout

    def find(self, key: str, *, tail: bool = False) -> Found | None:
        """A file; large ones are read as they are needed."""
        path = self.root / key
        try:
            with open_regular(str(path), follow=True) as (file, status):
                tag = _tag(FileStamp.of(status))
                if tail or status.st_size > _WHOLE:
                    return Found(pa.PythonFile(os.fdopen(os.dup(file), "rb"), mode="r"), tag)
                with os.fdopen(os.dup(file), "rb") as reader:
                    return Found(pa.BufferReader(reader.read()), tag)
        except (FileNotFoundError, NotADirectoryError):
            return None
        except OSError as error:
            raise LakeError(f"{path} can't be read: {error.strerror or error}", str(path)) from error

    def create(self, key: str, content: bytes) -> bool:
        """Write a new file."""
        return self._write(key, content, None)

    def replace(self, key: str, content: bytes, tag: str) -> bool:
        """Replace a file."""
        return self._write(key, content, tag)

    def _write(self, key: str, content: bytes, expected: str | None) -> bool:
        path = self.root / key
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:2]) % _LOCK_FILES
        lock = LockFile(self.root / _LOCKS / f"{number:02d}.lock", self.root, self._shared, patience=self._patience)
        try:
            with lock.hold():
                stamp = FileStamp.of_path(str(path))
                if (None if stamp is None else _tag(stamp)) != expected:
                    return False
                make_folder(path.parent, self.root, self._shared)
                write_whole(path, [content], self._shared, alone=False)
        except OSError as error:
            raise LakeError(f"{path} can't be written: {error.strerror or error}", str(path)) from error
        return True


class Bucket:
    """A bucket's objects. Credentials, region and endpoint come from where the provider's own tools take them.

    Args:
        url: The URL of the bucket, and perhaps of a folder in it.
        settings: The proxy.
    """

    def __init__(self, url: str, settings: Settings) -> None:
        self._url = url
        self._proxy = settings.proxy
        self._opened: tuple[int, ObjectStore] | None = None

    def find(self, key: str, *, tail: bool = False) -> Found | None:
        """An object; large ones are read by ranges."""
        store = self._store()
        import obstore  # noqa: PLC0415 (only a lake needs it)

        try:
            if tail:
                meta = obstore.head(store, key)
            else:
                answer = obstore.get(store, key)
                meta = answer.meta
                if meta["size"] <= _WHOLE:
                    return Found(pa.BufferReader(answer.bytes()), meta["e_tag"] or "")
            reader = obstore.open_reader(store, key, buffer_size=_RANGE, size=meta["size"])
            return Found(pa.PythonFile(_Ranges(reader, self._error), mode="r"), meta["e_tag"] or "")
        except FileNotFoundError as error:
            if "NoSuchBucket" in str(error):
                raise self._error(error) from error
            return None
        except Exception as error:
            raise self._error(error) from error

    def create(self, key: str, content: bytes) -> bool:
        """Write an object with `If-None-Match: *`."""
        return self._put(key, content, None)

    def replace(self, key: str, content: bytes, tag: str) -> bool:
        """Write an object with `If-Match`."""
        return self._put(key, content, tag)

    def _put(self, key: str, content: bytes, tag: str | None) -> bool:
        store = self._store()
        import obstore  # noqa: PLC0415 (as above)
        from obstore.exceptions import AlreadyExistsError, PreconditionError  # noqa: PLC0415 (as above)

        try:
            mode: PutMode = "create" if tag is None else {"e_tag": tag}
            obstore.put(store, key, content, mode=mode, use_multipart=False)
        except (AlreadyExistsError, PreconditionError) as error:
            if "NoSuchBucket" in str(error):
                raise self._error(error) from error
            return False
        except FileNotFoundError as error:
            if tag is not None and "NoSuchBucket" not in str(error):
                return False
            raise self._error(error) from error
        except Exception as error:
            raise self._error(error) from error
        return True

    def _store(self) -> ObjectStore:
        if self._opened is None or self._opened[0] != os.getpid():  # its threads do not live on in a forked child
            try:
                from obstore.store import from_url  # noqa: PLC0415 (as above)
            except ImportError as error:
                raise SettingsError("lake_url", self._url, "it needs `pip install 'ckvd-sql[lake]'`") from error
            options: ClientConfig = {
                "allow_http": True,  # of an endpoint that the user sets
                "connect_timeout": _PATIENCE,
                "read_timeout": _PATIENCE,
                "timeout": timedelta(hours=1),
            }
            if self._proxy == DIRECT:
                options["proxy_excludes"] = "*"
            elif self._proxy:
                options["proxy_url"] = self._proxy
            retries: RetryConfig = {"max_retries": 3, "retry_timeout": _PATIENCE}
            store = from_url(self._url, client_options=options, retry_config=retries)
            self._opened = os.getpid(), store
        return self._opened[1]

    def _error(self, error: Exception) -> LakeError:
        reason = str(error).split("\n\n", 1)[0].strip()
        return LakeError(f"{self._url} can't be used: {reason}", self._url)


class _Ranges(io.RawIOBase):
    """An object as a file, of which what is read is asked for."""

    def __init__(self, reader: ReadableFile, explain: Callable[[Exception], LakeError]) -> None:
        self._reader = reader
        self._explain = explain

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = os.SEEK_SET, /) -> int:
        return self._reader.seek(offset, whence)

    def tell(self) -> int:
        return self._reader.tell()

    def read(self, size: int = -1, /) -> bytes:
        try:
            return bytes(self._reader.readall() if size < 0 else self._reader.read(size))
        except Exception as error:
            raise self._explain(error) from error


def _tag(stamp: FileStamp) -> str:
    return "-".join(map(str, stamp))
