"""What is created on disk: through no link, over nothing that lies in the way, and with which permissions."""

from __future__ import annotations

import os
import stat
from typing import TYPE_CHECKING

import pytest

from ckvd_sql.disk.files import Shared, create, make_folder, open_regular, read_whole, write_whole
from tests.support.damage import writable

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

UMASKS = [0o000, 0o002, 0o022, 0o077]


@pytest.fixture(params=UMASKS, ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.mark.parametrize("name", ["file", ".file.tmp"])
@pytest.mark.parametrize("alone", [True, False])
def test_a_link_is_replaced_and_not_written_through(tmp_path: Path, name: str, *, alone: bool) -> None:
    outside = tmp_path / "outside"
    outside.write_text("mine")
    folder = tmp_path / "folder"
    folder.mkdir()
    (folder / name).symlink_to(outside)
    write_whole(folder / "file", [b"new"], alone=alone)
    assert outside.read_text() == "mine"
    assert read_whole(str(folder / "file")) == b"new"
    assert not (folder / "file").is_symlink()


@pytest.mark.timeout(5)
@pytest.mark.parametrize("kind", ["folder", "pipe", "dangling link"])
def test_what_lies_in_place_of_the_temporary_file_does_not_prevent_a_write(tmp_path: Path, kind: str) -> None:
    temporary = tmp_path / ".file.tmp"
    if kind == "folder":
        (temporary / "full").mkdir(parents=True)
    elif kind == "pipe":
        os.mkfifo(temporary)
    else:
        temporary.symlink_to(tmp_path / "nowhere")
    write_whole(tmp_path / "file", [b"new"])
    assert read_whole(str(tmp_path / "file")) == b"new"
    assert not (tmp_path / "nowhere").exists()


def test_two_writers_who_are_not_alone_do_not_touch_each_others_bytes(tmp_path: Path) -> None:
    path = tmp_path / "file"

    def first() -> Iterator[bytes]:
        yield b"fir"
        write_whole(path, [b"second"], alone=False)
        assert path.read_bytes() == b"second"
        yield b"st"

    write_whole(path, first())
    assert path.read_bytes() == b"first"
    assert list(tmp_path.iterdir()) == [path]


def test_a_link_is_followed_on_request_alone(tmp_path: Path) -> None:
    write_whole(tmp_path / "file", [b"one"])
    link = tmp_path / "link"
    link.symlink_to(tmp_path / "file")
    with pytest.raises(OSError, match="symbolic links"):
        read_whole(str(link))
    with open_regular(str(link), follow=True) as (file, _):
        assert os.read(file, 3) == b"one"


def test_a_file_of_an_absurd_size_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.touch()
    os.truncate(writable(path), 1 << 42)
    with pytest.raises(OSError, match="bytes"):
        read_whole(str(path))


@pytest.mark.parametrize("shared", Shared)
def test_permissions_follow_the_umask_and_who_shares(tmp_path: Path, umask: int, shared: Shared) -> None:
    root = tmp_path / "above" / "root"
    make_folder(root / "one" / "two", root, shared)
    write_whole(root / "one" / "file", [b""], shared)
    os.close(create(root / "one" / "lock", shared))
    folder_bits, file_bits, lock_bits = {
        "off": (0, 0, 0),
        "group": (0o2770, 0o440, 0o660),
        "all": (0o2775, 0o444, 0o664),
    }[shared]
    assert mode(tmp_path / "above") == 0o755 & ~umask
    assert {mode(folder) for folder in (root, root / "one", root / "one" / "two")} == {0o755 & ~umask | folder_bits}
    assert mode(root / "one" / "file") == 0o444 & ~umask | file_bits
    assert mode(root / "one" / "lock") == 0o644 & ~umask | lock_bits


def test_what_was_written_whole_can_be_replaced_and_not_written_into(tmp_path: Path) -> None:
    path = tmp_path / "file"
    for content in (b"one", b"two"):
        write_whole(path, [content])
    assert path.read_bytes() == b"two"
    assert not path.stat().st_mode & 0o222


def test_a_folder_that_is_there_keeps_its_permissions(tmp_path: Path) -> None:
    (tmp_path / "root").mkdir(mode=0o700)
    make_folder(tmp_path / "root" / "one", tmp_path / "root", Shared.ALL)
    assert mode(tmp_path / "root") == 0o700


@pytest.mark.parametrize("kind", ["file", "dangling link"])
def test_a_folder_can_not_be_made_where_something_else_is(tmp_path: Path, kind: str) -> None:
    if kind == "file":
        (tmp_path / "root").touch()
    else:
        (tmp_path / "root").symlink_to(tmp_path / "nowhere")
    with pytest.raises(OSError, match="root"):
        make_folder(tmp_path / "root" / "one", tmp_path / "root")
