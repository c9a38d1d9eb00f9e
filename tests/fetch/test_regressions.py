"""Mistakes that a failover of cache, archive and REST must not make, a test each.

The truth is the sandbox's own market, or what a stand-in was given to serve.
"""

from __future__ import annotations

import functools
import logging
import math
from datetime import date
from typing import TYPE_CHECKING

import duckdb
import pyarrow as pa
import pytest
from pyarrow import dataset

from ckvd_sql import CryptoKlineVisionData, InvalidSymbolError, OfflineError, RateLimitError
from ckvd_sql.market.periods import DAY, HOUR, Month, day_start
from ckvd_sql.sandbox import Fault, Sandbox
from tests.support import connections
from tests.support.bars import bars, csv_text, read, series
from tests.support.cached import day_files
from tests.support.connections import raises_in_sql, sources
from tests.support.damage import replace
from tests.support.stand_in import StandIn
from tests.support.truth import at, true_bars, true_rows

if TYPE_CHECKING:
    from pathlib import Path

connect = functools.partial(connections.connect, retries=1)
settings_for = functools.partial(connections.settings_for, retries=1)
ZIP = r"\.zip"
REST = "/api/v3/klines"


def test_a_zip_or_a_day_file_of_another_symbol_is_refused(stand_in: StandIn, tmp_path: Path) -> None:
    bitcoin, ether = series("spot", "BTCUSDT", "1h"), series("spot", "ETHUSDT", "1h")
    day, text = date(2024, 5, 1), csv_text(true_rows("BTCUSDT", "1h", "2024-05-01", "2024-05-02"))
    stand_in.publish(bitcoin, day, text)
    path = f"/{bitcoin.archive_path(day)}"
    stand_in.publish_zip(ether, day, stand_in.files[path])  # the name and checksum are right, the CSV is bitcoin's
    stand_in.rows = {bitcoin: [], ether: true_rows("ETHUSDT", "1h", "2024-05-01", "2024-05-03")}
    with connect(stand_in, tmp_path) as con:
        calls = {one: f"ckvd_klines('{one}', '1h', '2024-05-01', '2024-05-02')" for one in ("BTCUSDT", "ETHUSDT")}
        assert read(con, calls["BTCUSDT"]) == true_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
        assert read(con, calls["ETHUSDT"]) == true_bars("ETHUSDT", "1h", "2024-05-01", "2024-05-02")
        assert (sources(con, calls["BTCUSDT"]), sources(con, calls["ETHUSDT"])) == ({"vision"}, {"rest"})
        replace(tmp_path / ether.key / f"{day}.arrow", (tmp_path / bitcoin.key / f"{day}.arrow").read_bytes())
        assert read(con, calls["ETHUSDT"]) == true_bars("ETHUSDT", "1h", "2024-05-01", "2024-05-02")
        assert con.sql("SELECT symbol, source FROM ckvd_cache_days ORDER BY symbol").fetchall() == [
            ("BTCUSDT", "vision"),
            ("ETHUSDT", "rest"),
        ]


def test_cached_times_and_values_equal_the_fetched_ones(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.set_now("2025-01-20")  # so that the archives change from milliseconds to microseconds within the range
    call = "ckvd_klines('BTCUSDT', '1h', '2024-12-30', '2025-01-03')"
    with connect(exchange, tmp_path) as con:
        fetched = read(con, call)
        assert sources(con, "ckvd_cache_days") == {"vision"}
        exchange.forget()
        cached = read(con, call)
        assert sources(con, call) == {"vision"}
    assert exchange.requests == ()
    assert cached == fetched == true_bars("BTCUSDT", "1h", "2024-12-30", "2025-01-03")
    assert all(math.isfinite(value) for bar in cached for value in bar)


@pytest.mark.parametrize("source", ["vision", "rest"])
def test_a_query_for_an_hour_caches_its_whole_day(source: str, exchange: Sandbox, tmp_path: Path) -> None:
    if source == "rest":
        exchange.add(Fault(ZIP, "status", status=404))
    with connect(exchange, tmp_path) as con:
        one_hour = read(con, "ckvd_klines('BTCUSDT', '1h', '2023-03-24 11:00', '2023-03-24 12:00')")
        hour_of_outage = read(con, "ckvd_klines('BTCUSDT', '1h', '2023-03-24 13:00', '2023-03-24 14:00')")
        exchange.forget()
        whole = read(con, "ckvd_klines('BTCUSDT', '1h', '2023-03-24', '2023-03-25')")
        assert sources(con, "ckvd_cache_days") == {source}
    day = true_bars("BTCUSDT", "1h", "2023-03-24", "2023-03-25")
    assert one_hour == [bar for bar in day if bar[0] == at("2023-03-24 11:00")]
    assert hour_of_outage == []  # the outage, which no source fills
    assert whole == day
    assert len(day) == 23
    assert exchange.requests == ()


def test_days_from_both_sources_form_one_table_in_sql_and_on_disk(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(r"2024-05-02\.zip", "status", status=404))
    call = "ckvd_klines('BTCUSDT', '1h', '2024-05-01', '2024-05-04')"
    with connect(exchange, tmp_path) as con:
        fetched = con.sql(f"SELECT DISTINCT open_time::DATE, source FROM {call} ORDER BY 1")
        assert [source for _, source in fetched.fetchall()] == ["vision", "rest", "vision"]
        expected = true_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-04")
        assert read(con, call) == expected
        assert read(con, "ckvd_cache") == expected
        files = [str(tmp_path / name) for name in day_files(tmp_path)]
        con.register("on_disk", dataset.dataset(files, format="ipc"))
        assert read(con, "on_disk") == expected


def test_a_damaged_day_file_is_set_aside_with_a_warning_and_fetched_again(
    exchange: Sandbox, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    call = "ckvd_klines('BTCUSDT', '1h', '2024-05-01', '2024-05-02')"
    expected = true_bars("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
    with connect(exchange, tmp_path) as con:
        assert read(con, call) == expected
        (name,) = day_files(tmp_path)
        path = tmp_path / name
        whole = path.read_bytes()
        damages = {
            "empty": b"",
            "truncated at half": whole[: len(whole) // 2],
            "truncated at the end": whole[:-1],
            "foreign": b"open_time,open,high,low,close\n",
            "all zero": bytes(len(whole)),
        }
        for damage, content in damages.items():
            replace(path, content)
            caplog.clear()
            with caplog.at_level(logging.WARNING, "ckvd_sql"):
                assert read(con, call) == expected, damage
            assert str(path) in caplog.text, damage
            assert path.read_bytes()[-6:] == b"ARROW1", damage
            exchange.forget()
            assert read(con, call) == expected
            assert exchange.requests == (), damage


@pytest.mark.parametrize("source", ["vision", "rest", "cache", "today"])
def test_a_range_is_half_open_for_every_source(source: str, exchange: Sandbox, tmp_path: Path) -> None:
    day = "2024-06-15" if source == "today" else "2024-05-01"
    expected = {"vision": "vision", "rest": "rest", "cache": "vision", "today": "rest"}[source]
    if source == "rest":
        exchange.add(Fault(ZIP, "status", status=404))
    if source == "cache":
        with connect(exchange, tmp_path) as con:
            read(con, "ckvd_klines('BTCUSDT', '1h', '2024-05-01', '2024-05-02')")
    ranges = [("08:00", "10:00"), ("08:00:00.000001", "10:00:00.000001"), ("07:30", "09:30"), ("08:00", "08:00")]
    for number, (start, end) in enumerate(ranges):
        cache = tmp_path if source == "cache" else tmp_path / str(number)
        call = f"ckvd_klines('BTCUSDT', '1h', '{day} {start}', '{day} {end}')"
        with connect(exchange, cache) as con:
            answer = con.sql(f"SELECT epoch_us(open_time), source FROM {call} ORDER BY open_time").fetchall()
        within = [hour for hour in range(24) if at(f"{day} {start}") <= at(day) + hour * HOUR < at(f"{day} {end}")]
        assert answer == [(at(day) + hour * HOUR, expected) for hour in within]


def test_a_single_missing_bar_is_a_gap_anywhere_in_the_range(stand_in: StandIn, tmp_path: Path) -> None:
    first, end = "2024-05-10", "2024-05-15"
    lost = {
        "1h": ["2024-05-10 00:00", "2024-05-11 23:00", "2024-05-13 00:00", "2024-05-14 23:00"],
        "1d": ["2024-05-10", "2024-05-12", "2024-05-14"],
    }
    for interval, times in lost.items():
        published = [
            row
            for row in true_rows("BTCUSDT", interval, "2024-05-01", "2024-06-01")
            if row[0] * 1000 not in map(at, times)
        ]
        stand_in.rows[series("spot", "BTCUSDT", interval)] = published
    with connect(stand_in, tmp_path) as con:
        for interval, times in lost.items():
            range_ = f"'BTCUSDT', '{interval}', '{first}', '{end}'"
            for _ in ("fetched", "cached"):
                gaps = con.sql(f'SELECT epoch_us("from"), epoch_us("to"), count FROM ckvd_gaps({range_}) ORDER BY 1')
                step = HOUR if interval == "1h" else DAY
                assert gaps.fetchall() == [(at(time), at(time) + step, 1) for time in times]
            count = con.sql(f"SELECT count(*) FROM ckvd_klines({range_})").fetchall()
            assert count == [(5 * DAY // step - len(times),)]


def test_an_archive_with_a_wrong_checksum_is_neither_used_nor_cached(stand_in: StandIn, tmp_path: Path) -> None:
    one, day = series("spot", "BTCUSDT", "1h"), date(2024, 5, 1)
    genuine = true_rows("BTCUSDT", "1h", "2024-05-01", "2024-05-02")
    forged = [[row[0], "1.0", *row[2:]] for row in genuine]
    stand_in.publish(one, day, csv_text(forged), checksum="0" * 64)
    stand_in.rows[one] = true_rows("BTCUSDT", "1h", "2024-04-30", "2024-05-03")
    call = "ckvd_klines('BTCUSDT', '1h', '2024-05-01', '2024-05-02')"
    with connect(stand_in, tmp_path / "with REST") as con:
        assert read(con, call) == bars(genuine)
        assert sources(con, "ckvd_cache_days") == {"rest"}
        assert read(con, call) == bars(genuine)
    with StandIn() as dead:
        nowhere = dead.url
    with connect(stand_in, tmp_path / "without", spot_url=nowhere) as con, raises_in_sql("ChecksumError"):
        read(con, call)
    assert day_files(tmp_path / "without") == []


def test_an_unknown_symbol_is_requested_once_and_a_failed_day_is_an_error_not_a_gap(
    exchange: Sandbox, tmp_path: Path
) -> None:
    with connect(exchange, tmp_path, retries=3) as con:
        with raises_in_sql("InvalidSymbolError"):
            read(con, "ckvd_klines('NOSUCHUSDT', '1h', '2024-05-01', '2024-05-02')")
        assert [request.status for request in exchange.requests if request.path == REST] == [400]
        assert day_files(tmp_path) == []
    exchange.add(Fault(ZIP, "status", status=404))
    exchange.add(Fault(rf"{REST}.*startTime={at('2024-05-09') // 1000}\b", "status", status=503))
    call = "ckvd_klines('BTCUSDT', '1m', '2024-05-01', '2024-05-17')"
    with connect(exchange, tmp_path) as con:
        with raises_in_sql("ProviderUnavailableError"):
            read(con, call)
        assert not [name for name in day_files(tmp_path) if "2024-05-09" in name]
        incomplete = con.sql('SELECT count(*) FROM ckvd_cache_days WHERE "rows" <> 1440').fetchall()
        assert incomplete == [(0,)]
        exchange.clear_faults()
        assert read(con, call) == true_bars("BTCUSDT", "1m", "2024-05-01", "2024-05-17")


@pytest.mark.parametrize("kind", ["status", "reset", "corrupt", "checksum"])
def test_days_of_a_delisted_contract_are_an_error_while_the_archive_fails_and_never_cached_empty(
    kind: str, exchange: Sandbox, tmp_path: Path
) -> None:
    exchange.set_now("2024-09-20")  # months after the delivery only the archive has its bars
    range_ = ("BTCUSDT_240628", "1h", "2024-06-03", "2024-06-05")
    call = "ckvd_klines('{}', '{}', '{}', '{}', market := 'um')".format(*range_)
    exchange.add(Fault(r"BTCUSDT_240628.*\.zip" if kind == "checksum" else r"BTCUSDT_240628.*\.zip$", kind))
    with connect(exchange, tmp_path, retries=0) as con:
        with pytest.raises(duckdb.Error, match=r"ChecksumError|ProviderUnavailableError|MalformedDataError"):
            read(con, call)
        assert day_files(tmp_path) == []
        exchange.clear_faults()
        assert read(con, call) == true_bars(*range_, market="um")


def test_offline_sends_no_request_and_each_error_has_its_own_class(exchange: Sandbox, tmp_path: Path) -> None:
    april = ("BTCUSDT", "2024-04-01", "2024-04-03", "1h")
    CryptoKlineVisionData(**settings_for(exchange, tmp_path)).get_data(*april)
    exchange.forget()
    offline = CryptoKlineVisionData(**settings_for(exchange, tmp_path, offline=True))
    assert offline.get_data(*april).height == 48
    with pytest.raises(OfflineError) as error:
        offline.get_data("BTCUSDT", "2024-04-02", "2024-04-05", "1h")
    assert error.value.days == (date(2024, 4, 3), date(2024, 4, 4))
    with connect(exchange, tmp_path, offline=True) as con:
        for name in ("ckvd_klines", "ckvd_gaps"):
            with raises_in_sql("OfflineError"):
                con.sql(f"FROM {name}('BTCUSDT', '1h', '2024-04-02', '2024-04-05')").fetchall()
        with raises_in_sql("OfflineError"):
            con.sql("FROM ckvd_symbols('um')").fetchall()
    assert exchange.requests == ()
    online = CryptoKlineVisionData(**settings_for(exchange, tmp_path))
    with pytest.raises(InvalidSymbolError):
        online.get_data("NOSUCHUSDT", "2024-05-01", "2024-05-02")
    exchange.add(Fault(ZIP, "status", status=404))
    exchange.add(Fault(REST, "status", status=429, headers={"Retry-After": "7"}))
    with pytest.raises(RateLimitError) as limited:
        online.get_data("BTCUSDT", "2024-05-01", "2024-05-02")
    assert 0 < limited.value.retry_after <= 7


def test_an_open_day_is_not_cached_and_a_short_closed_day_is_not_fetched_again(
    exchange: Sandbox, tmp_path: Path
) -> None:
    today = "ckvd_klines('BTCUSDT', '1h', '2024-06-15', '2024-06-16', include_open := true)"
    closed_days = [
        "ckvd_klines('BTCUSDT', '1h', '2023-03-24', '2023-03-25')",  # an outage
        "ckvd_klines('BTCUSDT', '1h', '2017-08-17', '2017-08-18')",  # its first day
        "ckvd_klines('LUNAUSDT', '1h', '2022-05-12', '2022-05-16')",  # its last days
    ]
    with connect(exchange, tmp_path) as con:
        assert len(read(con, today)) == 13
        assert day_files(tmp_path) == []
        first = [read(con, call) for call in closed_days]
        exchange.forget()
        assert [read(con, call) for call in closed_days] == first
        assert [len(found) for found in first] == [23, 20, 25]
    assert exchange.requests == ()
    exchange.set_now("2024-06-16T12:00:30")
    with connect(exchange, tmp_path) as con:
        assert read(con, today) == true_bars("BTCUSDT", "1h", "2024-06-15", "2024-06-16")
        assert "binance/spot/BTCUSDT/1h/2024-06-15.arrow" in day_files(tmp_path)


def test_a_symbol_is_validated_as_a_whole_and_may_be_in_any_script(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.set_now("2025-10-20")
    wrong = ["BTCUSDT\n", "\nBTCUSDT", "BTCUSDT ", "", "../BTCUSDT", "BTC//USDT", "BTCUSDT\x00", "BTC-USDT-"]
    with connect(exchange, tmp_path) as con:
        for symbol in wrong:
            with raises_in_sql("InvalidSymbolError"):
                con.sql(
                    "FROM ckvd_klines($symbol, '1h', '2025-10-08', '2025-10-09')", params={"symbol": symbol}
                ).fetchall()
        assert exchange.requests == ()
        call = "ckvd_klines('币安人生USDT', '1h', '2025-10-08', '2025-10-10')"
        expected = true_bars("币安人生USDT", "1h", "2025-10-08", "2025-10-10")
        assert len(expected) == 48
        assert read(con, call) == expected
        exchange.forget()
        assert read(con, call) == expected
        assert exchange.requests == ()


def test_weeks_open_on_mondays_months_on_the_first_and_no_two_intervals_share_a_folder(
    exchange: Sandbox, tmp_path: Path
) -> None:
    range_ = "'2024-01-01', '2024-05-01'"
    with connect(exchange, tmp_path) as con:
        for interval in ("1w", "1mo", "3d"):
            answer = read(con, f"ckvd_klines('BTCUSDT', '{interval}', {range_})")
            assert answer == true_bars("BTCUSDT", interval, "2024-01-01", "2024-05-01")
        weekdays = f"SELECT DISTINCT dayofweek(open_time) FROM ckvd_klines('BTCUSDT', '1w', {range_})"
        assert con.sql(weekdays).fetchall() == [(1,)]
        months = [first for (first, *_) in read(con, f"ckvd_klines('BTCUSDT', '1M', {range_})")]
        assert months == [day_start(Month(2024, number).first) for number in (1, 2, 3, 4)]
        read(con, "ckvd_klines('BTCUSDT', '1m', '2024-04-01', '2024-04-02')")
        names = [path.name for path in (tmp_path / "binance/spot/BTCUSDT").iterdir()]
        assert sorted(names) == ["1m", "1mo", "1w", "3d"]
        assert len({name.casefold() for name in names}) == len(names)
        gaps = con.sql(
            f"FROM ckvd_gaps('BTCUSDT', '1mo', {range_}) UNION ALL FROM ckvd_gaps('BTCUSDT', '1w', {range_})"
        )
        assert gaps.fetchall() == []


def test_cached_bars_are_read_without_a_copy_or_a_request(exchange: Sandbox, tmp_path: Path) -> None:
    # benchmarks/ measures how fast this is.
    data = CryptoKlineVisionData(**settings_for(exchange, tmp_path))
    month = ("BTCUSDT", "2024-04-01", "2024-05-01", "1m")
    fetched = data.klines(*month)
    assert fetched.num_rows == 30 * 1440
    exchange.forget()
    before = pa.total_allocated_bytes()
    cached = data.klines(*month)
    copied = pa.total_allocated_bytes() - before
    assert exchange.requests == ()
    assert cached.equals(fetched)
    assert copied < cached.nbytes / 100
