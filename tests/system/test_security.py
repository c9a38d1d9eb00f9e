"""Untrusted arguments, SQL and settings: refused before a request is sent or a file is written."""

from __future__ import annotations

import json
import re
import unicodedata
from pathlib import Path
from typing import TYPE_CHECKING, Any

import duckdb
import pytest

import ckvd_sql
from ckvd_sql import CkvdError
from ckvd_sql.cli.sqltext import find_queries
from ckvd_sql.errors import InvalidArgumentError, InvalidSymbolError, SettingsError
from ckvd_sql.market.parse import parse_interval, parse_symbol
from ckvd_sql.market.series import Market, Series
from ckvd_sql.sandbox import Fault, Sandbox
from ckvd_sql.settings import Settings
from tests.support.clients import DAY, client_for
from tests.support.connections import settings_for
from tests.support.faults import ARCHIVE

if TYPE_CHECKING:
    from collections.abc import Iterator

    from duckdb import DuckDBPyConnection

INVALID_SYMBOLS = [
    "..", "../BTCUSDT", "../../../../etc/passwd", "/etc/passwd", "BTC/USDT/", "BTC\\USDT", "BTCUSDT/..", ".", "~", "C:",
    "BTCUSDT\x00", "BTCUSDT\n", "\nBTCUSDT", "BTCUSDT\r\nHost: elsewhere", "BTC USDT", " BTCUSDT", "", "A" * 65,
    "%2e%2e%2f", "BTCUSDT%2F..", "BTCUSDT%00", "BTCUSDT?symbol=ETHUSDT", "BTCUSDT#", "BTCUSDT&limit=1", "BTC:80",
    "USER@HOST", "ELSEWHERE.EXAMPLE", "//ELSEWHERE", "BTC;X", "BTC*;", "$HOME", "`ID`", "-RF", "BTC|ID", "{BTC}",
    "\uff0e\uff0e", "\uff0e\uff0e\uff0fBTC", "BTC\uff0fUSDT", "BTC\u2215USDT", "BTC\u2044USDT", "BTC\uff3cUSDT",
    "BTC\u2024USDT", "\u2025", "\u2026", "BTC\u3002USDT", "BTC\uff1aUSDT", "BTC\uff05USDT",
    "BTC\u202eUSDT", "BTC\u200bUSDT", "\ufeffBTC", "BTC\u00a0USDT", "BTC\u2028USDT", "E\u0301", "BTC\u0338",
]  # fmt: skip


INJECTIONS = [
    "'", '"', "''", "BTCUSDT'", "BTCUSDT'; DROP TABLE precious; --", "BTCUSDT') ; DROP TABLE precious; --",
    "BTCUSDT' OR '1'='1", 'BTCUSDT"; DROP TABLE precious; --', "BTCUSDT/**/", "BTCUSDT -- ", "$$", "$1", "?;", "{}",
    '{"symbol": "BTCUSDT"}', "BTCUSDT\\'; DROP TABLE precious; --", "'); COPY precious TO '/tmp/stolen.csv'; --",
    "read_text('/etc/passwd')", "(SELECT secret FROM precious)", "precious.secret", "now'; ATTACH 'x.db'; --",
]  # fmt: skip


@pytest.fixture
def con(exchange: Sandbox, tmp_path: Path) -> Iterator[DuckDBPyConnection]:
    with ckvd_sql.connect(**settings_for(exchange, tmp_path / "cache")) as con:
        con.execute("CREATE TABLE precious AS SELECT 'BTCUSDT' AS secret")
        yield con


def no_request_and_no_file(exchange: Sandbox, tmp_path: Path) -> bool:
    """Whether no request was sent and no file was written."""
    return exchange.requests == () and list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("symbol", INVALID_SYMBOLS, ids=ascii)
def test_an_invalid_symbol_is_refused_before_any_request_or_write(
    exchange: Sandbox, tmp_path: Path, con: DuckDBPyConnection, symbol: str
) -> None:
    client = client_for(exchange, tmp_path / "cache")
    for given in (symbol, ["BTCUSDT", symbol]):
        with pytest.raises(InvalidSymbolError):
            client.klines(given, *DAY)
        with pytest.raises(InvalidSymbolError):
            client.plan(given, *DAY)
        for name in ("ckvd_klines", "ckvd_plan", "ckvd_gaps", "ckvd_audit"):
            with pytest.raises(duckdb.Error, match="InvalidSymbolError: "):
                con.execute(f"FROM {name}($symbol, '1h', '2024-05-01', '2024-05-02')", {"symbol": given})
    assert no_request_and_no_file(exchange, tmp_path)


@pytest.mark.parametrize("symbol", [None, 5, 1.5, True, [], {}, [None], [["BTCUSDT"]], b"BTCUSDT"], ids=repr)
def test_a_symbol_of_another_type_is_refused(exchange: Sandbox, tmp_path: Path, symbol: Any) -> None:
    with pytest.raises(InvalidSymbolError):
        client_for(exchange, tmp_path / "cache").klines(symbol, *DAY)
    assert no_request_and_no_file(exchange, tmp_path)


@pytest.mark.parametrize("text", [*INVALID_SYMBOLS, *INJECTIONS], ids=ascii)
def test_an_invalid_interval_market_or_time_is_refused_before_any_request_or_write(
    exchange: Sandbox, tmp_path: Path, con: DuckDBPyConnection, text: str
) -> None:
    usual = {"symbol": "BTCUSDT", "interval": "1h", "start": "2024-05-01", "end": "2024-05-02", "market": "spot"}
    for name in ("interval", "start", "end", "market"):
        given = {**usual, name: text}
        with pytest.raises(duckdb.Error, match=r"Invalid\w+Error: "):
            con.execute("FROM ckvd_klines($symbol, $interval, $start, $end, market := $market)", given)
    with pytest.raises(duckdb.Error, match="InvalidMarketError: "):
        con.execute("FROM ckvd_symbols($market)", {"market": text})
    with pytest.raises(InvalidArgumentError):
        client_for(exchange, tmp_path / "cache").klines("BTCUSDT", *DAY, text)
    assert no_request_and_no_file(exchange, tmp_path)


def test_no_valid_symbol_character_can_leave_a_folder_a_path_or_a_url() -> None:
    accepted = []
    for number in range(0x20000):
        try:
            accepted.append(parse_symbol(chr(number)))
        except InvalidSymbolError:
            continue
    assert set("ABCXYZ019_币人") <= set(accepted)
    text = "".join(accepted)
    for form in ("NFC", "NFD"):
        assert not set("/\\.:%?#@&;'\"*|<>$~ \t\r\n\0").intersection(unicodedata.normalize(form, text))
    assert text.isprintable()


def test_an_unusual_but_valid_symbol_stays_in_its_folder_and_on_its_host(exchange: Sandbox, tmp_path: Path) -> None:
    unusual = {"币安人生USDT", "\uff21", "⒈", "_", "__PYCACHE__", "CON", "²", "A" * 64}
    for symbol in unusual:
        series = Series(Market.SPOT, parse_symbol(symbol), parse_interval("1h", Market.SPOT))
        path = (tmp_path / "cache" / series.key).resolve()
        assert path.relative_to(tmp_path / "cache").parts == ("binance", "spot", symbol, "1h")
        with pytest.raises(CkvdError):
            client_for(exchange, tmp_path / "cache").klines(symbol, *DAY)
    requested = [request.path.split("/") for request in exchange.requests if request.path.startswith("/data/")]
    assert {(parts[4], parts[5]) for parts in requested} == {("klines", symbol) for symbol in unusual}
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


@pytest.mark.parametrize("text", INJECTIONS, ids=ascii)
@pytest.mark.parametrize("way", ["parameter", "literal", "variable"])
def test_sql_in_an_argument_is_inert(
    exchange: Sandbox, tmp_path: Path, con: DuckDBPyConnection, text: str, way: str
) -> None:
    literal = "'" + text.replace("'", "''") + "'"
    con.execute("SET VARIABLE given = $text", {"text": text})
    argument = {"parameter": "$text", "literal": literal, "variable": "getvariable('given')"}[way]
    parameters = {"text": text} if way == "parameter" else {}
    for call in (
        f"ckvd_klines({argument}, '1h', '2024-05-01', '2024-05-02')",
        f"ckvd_klines(['BTCUSDT', {argument}], '1h', '2024-05-01', '2024-05-02')",
        f"ckvd_klines('BTCUSDT', '1h', {argument})",
        f"ckvd_klines('BTCUSDT', '1h', '2024-05-01', market := {argument})",
        f"ckvd_klines('BTCUSDT', '1h', '2024-05-01', include_open := {argument})",
        f"ckvd_symbols({argument})",
    ):
        with pytest.raises(duckdb.Error, match=r"Invalid\w+Error: "):
            con.execute(f"FROM {call}", parameters)
    assert con.execute("SELECT secret FROM precious").fetchall() == [("BTCUSDT",)]
    assert no_request_and_no_file(exchange, tmp_path)


def test_the_text_that_duckdb_binds_has_no_argument_in_it(con: DuckDBPyConnection) -> None:
    con.execute("FROM ckvd_plan('BTCUSDT', '1h', '2024-05-01', '2024-05-02')")
    (function,) = con.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_name LIKE '%ckvd_bind%'"
    ).fetchall()
    given = {"symbol": "BTCUSDT", "interval": "1h", "start": "2024-05-01", "end": "2024-05-02"}
    for name in ("ckvd_klines", "ckvd_plan", "ckvd_gaps", "ckvd_audit"):
        found = con.execute(f"SELECT {function[0]}($name, $given)", {"name": name, "given": json.dumps(given)})
        ((text,),) = found.fetchall()
        assert re.fullmatch(r'SELECT \* FROM "__duckdb_source_\w+"( AS "arrow_object_\w+")?', text), text
        assert "BTCUSDT" not in text
    definitions = con.execute(
        "SELECT macro_definition FROM duckdb_functions() WHERE function_name IN ('ckvd_klines', 'ckvd_symbols')"
    ).fetchall()
    assert all("to_json" in text and "||" not in text and "format" not in text for (text,) in definitions)


def test_finding_calls_in_a_statement_reads_no_file_and_runs_nothing(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("BTCUSDT")
    span = "'1h', '2024-05-01', '2024-05-02'"
    for argument in (f"(SELECT content FROM read_text('{secret}'))", f"(FROM '{secret}')", "getenv('HOME')", "x'; y"):
        assert find_queries(f"FROM ckvd_klines({argument}, {span})", 0) == []
    stolen = tmp_path / "stolen.csv"
    assert find_queries(f"COPY (FROM ckvd_klines('../X', {span})) TO '{stolen}'", 0) == []
    assert find_queries(f"FROM ckvd_klines('BTCUSDT', {span}); DROP TABLE precious", 0) == []
    assert [path.name for path in tmp_path.iterdir()] == ["secret.txt"]


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("spot_url", "file:///etc/passwd"),
        ("spot_url", "//elsewhere"),
        ("spot_url", "elsewhere"),
        ("spot_url", "ftp://elsewhere"),
        ("spot_url", "http://"),
        ("spot_url", "http://127.0.0.1:99999"),
        ("spot_url", "http://a\nb"),
        ("um_url", "http://a\0b"),
        ("um_url", "http://127.0.0.1/#"),
        ("cm_url", "http://127.0.0.1?x=1"),
        ("vision_url", ""),
        ("vision_url", "http://127.0.0.1:99999"),
        ("vision_url", "http://127.0.0.1/#"),
        ("vision_url", "http://127.0.0.1/?x="),
        ("vision_url", "nosuch://elsewhere"),
        ("cache_dir", ""),
        ("cache_dir", "a\0b"),
        ("checksum", "off"),
        ("timeout", "nan"),
        ("retries", "-1"),
        ("concurrency", "0"),
        ("offline", "maybe"),
        ("verify", "0"),
        ("ssl", "false"),
    ],
)
def test_an_invalid_setting_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.load(**{name: value})
    assert refused.value.setting == name


@pytest.mark.parametrize("name", ["vision_url", "spot_url"])
@pytest.mark.parametrize("url", ["http://xn--", "http://a..b", "http://[::1%25lo]:1", "http://a b"])
def test_a_host_that_can_not_be_resolved_is_a_ckvd_error(
    exchange: Sandbox, tmp_path: Path, name: str, url: str
) -> None:
    exchange.add(Fault(".", "status", status=503))
    with pytest.raises(CkvdError):
        client_for(exchange, tmp_path / "cache", **{name: url}).klines("BTCUSDT", *DAY)


def test_no_host_name_creates_a_file_outside_the_cache(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    for url in ("http://..", "http://../../x", "http://%2e%2e%2fx", "http://a%2f..%2f..%2fx.invalid", "http://..%5cx"):
        with pytest.raises(CkvdError):
            client_for(exchange, tmp_path / "cache", spot_url=url).klines("BTCUSDT", *DAY)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert {path.parent.name for path in tmp_path.rglob("weight-*")} <= {".rest"}


@pytest.mark.skipif(not Path("/proc/net/tcp").exists(), reason="needs Linux's list of sockets")
def test_the_sandbox_listens_on_loopback_only() -> None:
    with Sandbox(now="2024-06-15") as exchange:
        port = int(exchange.url.rpartition(":")[2])
        listening = []
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            if Path(table).exists():
                lines = [line.split() for line in Path(table).read_text().splitlines()[1:]]
                listening += [line[1] for line in lines if line[3] == "0A" and line[1].endswith(f":{port:04X}")]
    assert listening == [f"0100007F:{port:04X}"]
