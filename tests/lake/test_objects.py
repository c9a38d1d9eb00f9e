"""Objects in a folder and in a bucket: written once, replaced only where they are the same, by one of many writers."""

from __future__ import annotations

import urllib.request
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from ckvd_sql.errors import LakeError
from ckvd_sql.lake.objects import Bucket, Folder, objects_at
from ckvd_sql.settings import Settings
from tests.support.lakes import s3_environment, s3_server
from tests.support.processes import run_program

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from ckvd_sql.lake.objects import Objects

KEY = "binance/market=spot/interval=1h/symbol=币安人生USDT/2023.parquet"


@pytest.fixture(scope="module")
def bucket() -> Iterator[str]:
    with s3_server() as url:
        urllib.request.urlopen(urllib.request.Request(f"{url}/lake", method="PUT")).close()
        yield url


@pytest.fixture(params=["folder", "bucket"])
def objects(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Objects:
    if request.param == "folder":
        return objects_at(tmp_path.as_uri(), Settings.load())
    for name, value in s3_environment(request.getfixturevalue("bucket")).items():
        monkeypatch.setenv(name, value)
    return objects_at(f"s3://lake/{tmp_path.name}", Settings.load())


def content_of(objects: Objects, *, tail: bool = False) -> bytes:
    found = objects.find(KEY, tail=tail)
    assert found is not None
    with found.content as file:
        return bytes(file.read())


def tag_of(objects: Objects) -> str:
    found = objects.find(KEY)
    assert found is not None
    return found.tag


def test_what_is_not_there_is_not_found(objects: Objects) -> None:
    assert objects.find(KEY) is None
    assert objects.find(KEY, tail=True) is None


def test_an_object_is_created_once(objects: Objects) -> None:
    assert objects.create(KEY, b"first")
    assert not objects.create(KEY, b"second")
    assert content_of(objects) == b"first"
    assert content_of(objects, tail=True) == b"first"


def test_an_object_is_replaced_only_where_it_is_the_same(objects: Objects) -> None:
    objects.create(KEY, b"first")
    tag = tag_of(objects)
    assert objects.replace(KEY, b"second", tag)
    assert not objects.replace(KEY, b"third", tag)
    assert content_of(objects) == b"second"


def test_what_is_gone_is_not_replaced(objects: Objects) -> None:
    assert not objects.replace(KEY, b"first", '"0123"')
    assert objects.find(KEY) is None


def test_of_eight_writers_at_once_one_creates_and_one_replaces(objects: Objects) -> None:
    with ThreadPoolExecutor(8) as threads:
        created = list(threads.map(lambda number: objects.create(KEY, b"%d" % number * 9), range(8)))
        assert sum(created) == 1
        assert content_of(objects) == b"%d" % created.index(True) * 9
        tag = tag_of(objects)
        replaced = list(threads.map(lambda number: objects.replace(KEY, b"%d" % number * 5, tag), range(8)))
        assert sum(replaced) == 1
        assert content_of(objects) == b"%d" % replaced.index(True) * 5


def test_a_large_object_is_read_by_ranges(objects: Objects) -> None:
    large = bytes(range(256)) * (1 << 17)
    objects.create(KEY, large)
    found = objects.find(KEY)
    assert found is not None
    with found.content as file:
        assert file.size() == len(large)
        file.seek(len(large) - 1000)
        assert bytes(file.read(500)) == large[-1000:-500]
        file.seek(256)
        assert bytes(file.read(3)) == b"\0\1\2"


def test_a_folder_that_can_t_be_written_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "binance").write_text("a file")
    with pytest.raises(LakeError, match="can't be written"):
        Folder(tmp_path, Settings.load()).create(KEY, b"first")


def test_a_bucket_that_does_not_exist_is_an_error_and_no_absence(bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3_environment(bucket).items():
        monkeypatch.setenv(name, value)
    nowhere = Bucket("s3://nowhere/lake", Settings.load())
    with pytest.raises(LakeError, match="NoSuchBucket"):
        nowhere.find(KEY)
    with pytest.raises(LakeError, match="NoSuchBucket"):
        nowhere.create(KEY, b"first")
    with pytest.raises(LakeError, match="NoSuchBucket"):
        nowhere.replace(KEY, b"first", '"0123"')


def test_eight_processes_create_one_file_in_a_folder(tmp_path: Path) -> None:
    code = """
import json, sys
from pathlib import Path
from ckvd_sql.lake.objects import Folder
from ckvd_sql.settings import Settings
asked = json.loads(sys.argv[1])
print(json.dumps(Folder(Path(asked["root"]), Settings.load()).create(asked["key"], b"x" * 100)))
"""
    with ThreadPoolExecutor(8) as threads:
        asked = {"root": str(tmp_path), "key": KEY}
        created = list(threads.map(lambda _: run_program(code, asked), range(8)))
    assert sorted(created) == [False] * 7 + [True]
    assert [path.name for path in (tmp_path / KEY).parent.iterdir()] == ["2023.parquet"]
