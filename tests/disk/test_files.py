"""Files as bytes: what tells one from another, how they are read and written, and the digest that guards them."""

from __future__ import annotations

import contextlib
import os
import time
from typing import TYPE_CHECKING

import pytest

from ckvd_sql.disk.files import (
    FileStamp,
    changed_at,
    is_settled,
    open_regular,
    read_whole,
    with_digest,
    without_digest,
    write_whole,
)
from tests.support.damage import writable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


def stamp(path: Path) -> FileStamp:
    return FileStamp.of(path.stat())


def test_a_stamp_stays_the_same_while_its_file_does(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, [b"one"])
    before = stamp(path)
    write_whole(tmp_path / "other", [b"one"])
    path.read_bytes()
    assert stamp(path) == before == FileStamp.of_path(str(path))
    assert FileStamp.of_path(str(tmp_path / "none")) is None


def test_a_file_overwritten_in_place_has_another_stamp_even_with_the_same_times_and_size(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    before, status = stamp(path), path.stat()
    time.sleep(0.05)
    writable(path).write_bytes(b"two")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert stamp(path)._replace(changed=before.changed) == before
    assert stamp(path) != before


def test_a_change_has_settled_when_a_later_one_would_have_another_time() -> None:
    now = time.time_ns()
    assert is_settled(now - 100_000_000 | 1)
    assert not is_settled(now | 1)
    whole_second = now // 1_000_000_000 * 1_000_000_000
    assert not is_settled(whole_second - 1_000_000_000)
    assert is_settled(whole_second - 3_000_000_000)


def test_a_file_put_in_its_place_has_another_stamp_even_with_the_same_time_and_size(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, [b"one"])
    before, status = stamp(path), path.stat()
    write_whole(path, [b"two"])
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert stamp(path)._replace(changed=before.changed, inode=before.inode) == before
    assert stamp(path) != before


def test_an_inode_number_beyond_63_bits_fits_a_signed_integer() -> None:
    inodes = [0, 5, 2**63 - 1, 2**63, 2**64 - 1]
    signed = [FileStamp.of(os.stat_result((0, inode, *[0] * 8))).inode for inode in inodes]
    assert signed == [0, 5, 2**63 - 1, -(2**63), -1]


def test_a_folder_changes_when_an_entry_comes_or_goes(tmp_path: Path) -> None:
    moments = [changed_at(str(tmp_path))]
    for change in ((tmp_path / "file").touch, (tmp_path / "file").unlink):
        time.sleep(0.02)
        change()
        moments.append(changed_at(str(tmp_path)))
    assert moments == sorted(set(moments))


def test_a_modification_time_that_is_set_back_does_not_hide_the_change(tmp_path: Path) -> None:
    before = changed_at(str(tmp_path))
    time.sleep(0.02)
    (tmp_path / "file").touch()
    os.utime(tmp_path, (0, 0))
    assert changed_at(str(tmp_path)) > before


def test_a_folder_that_is_not_there_is_an_os_error(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        changed_at(str(tmp_path / "nowhere"))


def test_a_file_reads_back_whole_with_its_status(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, (piece for piece in (b"one ", b"", b"two")))
    assert read_whole(str(path)) == b"one two"
    with open_regular(str(path)) as (file, status):
        assert os.read(file, 3) == b"one"
        assert FileStamp.of(status) == stamp(path)


def test_a_descriptor_is_closed_at_the_end_even_after_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with contextlib.suppress(KeyError), open_regular(str(tmp_path / "file")) as (file, _):
        raise KeyError
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(file)


@pytest.mark.timeout(5)
def test_what_is_no_regular_file_is_refused_without_blocking(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    for name in ("pipe", "folder"):
        with pytest.raises(OSError, match="not a regular file"):
            read_whole(str(tmp_path / name))


def test_a_write_that_fails_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    def content() -> Iterator[bytes]:
        yield b"half of "
        raise OSError("the disk is full")

    path = tmp_path / "file"
    write_whole(path, [b"old"])
    with pytest.raises(OSError, match="the disk is full"):
        write_whole(path, content())
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_writer_left_is_replaced(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def killed() -> Iterator[bytes]:
        yield b"half of "
        raise KeyboardInterrupt

    for _ in range(2):
        with pytest.raises(KeyboardInterrupt):
            write_whole(path, killed())
    assert len(list(tmp_path.iterdir())) == 1  # one temporary file, however often
    assert not path.exists()
    write_whole(path, [b"new"])
    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_reader_keeps_the_file_that_it_opened(tmp_path: Path) -> None:
    path = tmp_path / "file"
    write_whole(path, [b"old"])
    with open_regular(str(path)) as (file, _):
        write_whole(path, [b"new"])
        assert os.read(file, 3) == b"old"


def test_content_with_a_digest_comes_back_under_its_key_alone() -> None:
    for content in (b"", b"content"):
        stored = with_digest(content, "binance/spot/BTCUSDT/1h")
        found = without_digest(stored, "binance/spot/BTCUSDT/1h")
        assert found is not None
        assert found.tobytes() == content
        assert without_digest(stored, "binance/spot/BTCUSDT/1d") is None


def test_any_damage_is_detected() -> None:
    stored = with_digest(b"content", "key")
    for number in range(len(stored)):
        damaged = bytearray(stored)
        damaged[number] ^= 1
        assert without_digest(bytes(damaged), "key") is None
        assert without_digest(stored[:number], "key") is None
    assert without_digest(stored + b"\0", "key") is None
