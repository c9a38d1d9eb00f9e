"""Settings: arguments override the environment, the environment overrides the defaults; errors name the setting."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import ckvd_sql
from ckvd_sql import CryptoKlineVisionData, Settings, SettingsError
from ckvd_sql.disk.files import Shared
from ckvd_sql.market.parse import parse_time
from ckvd_sql.market.series import Market

#: For each setting: text for the environment and its parsed value, an argument and its parsed value.
VALUES: dict[str, tuple[str, Any, Any, Any]] = {
    "cache_dir": ("/tmp/one", Path("/tmp/one"), Path("/tmp/two"), Path("/tmp/two")),  # noqa: S108 (never created)
    "cache_shared": ("group", Shared.GROUP, "all", Shared.ALL),
    "lake_url": ("s3://bucket/lake/", "s3://bucket/lake", "/tmp/lake", "file:///tmp/lake"),  # noqa: S108 (as above)
    "lake_write": ("1", True, False, False),
    "sources": ("archive", "archive", "all", "all"),
    "vision_url": ("s3://bucket/", "s3://bucket", "https://mirror.example", "https://mirror.example"),
    "spot_url": ("https://a.example/", "https://a.example", "http://127.0.0.1:1", "http://127.0.0.1:1"),
    "um_url": ("https://b.example", "https://b.example", "https://c.example", "https://c.example"),
    "cm_url": ("https://d.example", "https://d.example", "https://e.example", "https://e.example"),
    "checksum": ("warn", "warn", "strict", "strict"),
    "offline": ("yes", True, False, False),
    "mmap": ("no", False, True, True),
    "concurrency": ("3", 3, 5, 5),
    "timeout": ("1.5", 1.5, 7, 7.0),
    "retries": ("0", 0, 9, 9),
    "proxy": ("http://proxy.example:1/", "http://proxy.example:1/", "direct", "direct"),
    "progress": ("no", False, True, True),
    "now": ("2024-06-01", parse_time("2024-06-01", "now"), "2024-06-02T12:00Z", parse_time("2024-06-02T12:00", "now")),
}

INVALID: list[tuple[str, Any]] = [
    ("cache_dir", ""),
    ("cache_dir", "~nosuchuser/x"),
    ("cache_dir", "s3://bucket/folder"),
    ("cache_shared", ""),
    ("cache_shared", "umask"),
    ("cache_shared", "0770"),
    ("lake_url", "https://lake.example"),
    ("lake_url", "s3://"),
    ("lake_url", "s3://bucket?x=1"),
    ("lake_url", "file://host/lake"),
    ("lake_write", "maybe"),
    ("sources", "rest"),
    ("vision_url", " "),
    ("vision_url", "nosuch://x"),
    ("vision_url", "data.binance.vision"),
    ("vision_url", "mirror.example:8080/binance"),
    ("spot_url", "ftp://x"),
    ("spot_url", "api.example"),
    ("spot_url", "http://"),
    ("spot_url", "http://h:99999"),
    ("spot_url", 5),
    ("um_url", ""),
    ("cm_url", "https://[::1"),
    ("checksum", "lax"),
    ("offline", "maybe"),
    ("mmap", "2"),
    ("concurrency", "0"),
    ("concurrency", "65"),
    ("concurrency", "two"),
    ("concurrency", 2.7),
    ("timeout", "0"),
    ("timeout", "-1"),
    ("timeout", "nan"),
    ("timeout", "inf"),
    ("timeout", ""),
    ("retries", "-1"),
    ("retries", "11"),
    ("proxy", "ftp://x"),
    ("proxy", "socks9://x"),
    ("progress", "bar"),
    ("now", "soon"),
]


def test_every_setting_is_tested_here() -> None:
    assert list(VALUES) == [field.name for field in Settings.__attrs_attrs__]  # type: ignore[attr-defined]


@pytest.mark.parametrize("name", VALUES)
def test_a_setting_comes_from_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, expected, _, _ = VALUES[name]
    assert getattr(Settings.load(), name) != expected
    monkeypatch.setenv(f"CKVD_{name.upper()}", text)
    assert getattr(Settings.load(), name) == expected


@pytest.mark.parametrize("name", VALUES)
def test_an_argument_overrides_the_environment(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, _, argument, expected = VALUES[name]
    monkeypatch.setenv(f"CKVD_{name.upper()}", text)
    assert getattr(Settings.load(**{name: argument}), name) == expected


@pytest.mark.parametrize("name", VALUES)
def test_an_argument_of_none_counts_as_not_given(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    text, expected, _, _ = VALUES[name]
    monkeypatch.setenv(f"CKVD_{name.upper()}", text)
    assert getattr(Settings.load(**{name: None}), name) == expected


@pytest.mark.parametrize(("name", "value"), INVALID)
def test_an_invalid_value_is_refused_by_the_setting_s_name(name: str, value: Any) -> None:
    with pytest.raises(SettingsError, match=f"setting {name} = ") as refused:
        Settings.load(**{name: value})
    assert (refused.value.setting, refused.value.value) == (name, value)


@pytest.mark.parametrize(("name", "value"), [pair for pair in INVALID if isinstance(pair[1], str)])
def test_an_invalid_value_in_the_environment_is_refused_by_the_setting_s_name(
    name: str, value: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(f"CKVD_{name.upper()}", value)
    with pytest.raises(SettingsError, match=f"setting {name} = "):
        Settings.load()


def test_an_unknown_setting_is_refused_with_a_list_of_the_known_ones() -> None:
    with pytest.raises(SettingsError, match="there are only cache_dir, cache_shared, lake_url"):
        Settings.load(cachedir="x")


@pytest.mark.parametrize("entry_point", [ckvd_sql.connect, ckvd_sql.register, CryptoKlineVisionData])
def test_every_entry_point_refuses_an_invalid_setting(entry_point: Any) -> None:
    with pytest.raises(SettingsError, match="retries"):
        entry_point(retries="many")


def test_settings_beside_a_settings_object_are_not_silently_ignored(tmp_path: Path) -> None:
    settings = Settings.load(cache_dir=tmp_path)
    try:
        client = CryptoKlineVisionData(settings, offline=True)
    except (TypeError, ValueError):
        return
    assert client.settings.offline


def test_the_defaults_need_no_key_and_no_setting() -> None:
    settings = Settings.load()
    assert settings.vision_url == "https://data.binance.vision"
    assert [settings.rest_url(market) for market in Market] == [
        "https://data-api.binance.vision",
        "https://fapi.binance.com",
        "https://dapi.binance.com",
    ]
    assert settings.cache_dir == Path.home() / ".cache" / "ckvd"


def test_settings_are_immutable() -> None:
    with pytest.raises(AttributeError):
        Settings.load().retries = 5


def test_the_clock_runs_unless_now_is_set() -> None:
    assert Settings.load(now="2024-06-01").clock() == parse_time("2024-06-01", "now")
    running = Settings.load()
    assert running.clock() <= running.clock()
    assert running.now is None
