"""No way in: no argument, setting, archive, answer or certificate gets further than it should.

Real servers on loopback; what must not be asked or written is looked for afterwards.
"""

from __future__ import annotations

import contextlib
import io
import json
import os
import re
import shutil
import ssl
import subprocess
import sys
import threading
import tracemalloc
import unicodedata
import urllib.error
import urllib.request
import zipfile
from datetime import date
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import duckdb
import httpx
import pytest

import ckvd_sql
from ckvd_sql import CkvdError, CryptoKlineVisionData, MalformedDataError, ProviderUnavailableError
from ckvd_sql.cli.sqltext import find_queries
from ckvd_sql.errors import InvalidArgumentError, InvalidSymbolError, SettingsError
from ckvd_sql.market.bars import read_archive
from ckvd_sql.market.series import Market, Series, parse_interval, parse_symbol
from ckvd_sql.sandbox import Fault, Sandbox
from ckvd_sql.sandbox.anomalies import MEMBERS, spoiled
from ckvd_sql.settings import Settings

if TYPE_CHECKING:
    from collections.abc import Iterator

    import pyarrow as pa
    from duckdb import DuckDBPyConnection

ARCHIVE = r"/data/.*\.zip"
REST = r"/v[13]/klines"
DAY = ("2024-05-01", "2024-05-02")
ZIP = "/data/spot/daily/klines/BTCUSDT/1h/BTCUSDT-1h-2024-05-01.zip"

OUTSIDE = [
    "..", "../BTCUSDT", "../../../../etc/passwd", "/etc/passwd", "BTC/USDT", "BTC\\USDT", "BTCUSDT/..", ".", "~", "C:",
    "BTCUSDT\x00", "BTCUSDT\n", "\nBTCUSDT", "BTCUSDT\r\nHost: elsewhere", "BTC USDT", " BTCUSDT", "", "A" * 65,
    "%2e%2e%2f", "BTCUSDT%2F..", "BTCUSDT%00", "BTCUSDT?symbol=ETHUSDT", "BTCUSDT#", "BTCUSDT&limit=1", "BTC:80",
    "USER@HOST", "ELSEWHERE.EXAMPLE", "//ELSEWHERE", "BTC;X", "BTC*", "$HOME", "`ID`", "-RF", "BTC|ID", "{BTC}",
    "\uff0e\uff0e", "\uff0e\uff0e\uff0fBTC", "BTC\uff0fUSDT", "BTC\u2215USDT", "BTC\u2044USDT", "BTC\uff3cUSDT",
    "BTC\u2024USDT", "\u2025", "\u2026", "BTC\u3002USDT", "BTC\uff1aUSDT", "BTC\uff05USDT",
    "BTC\u202eUSDT", "BTC\u200bUSDT", "\ufeffBTC", "BTC\u00a0USDT", "BTC\u2028USDT", "E\u0301", "BTC\u0338", "btcusdt",
]  # fmt: skip

INJECTIONS = [
    "'", '"', "''", "BTCUSDT'", "BTCUSDT'; DROP TABLE precious; --", "BTCUSDT') ; DROP TABLE precious; --",
    "BTCUSDT' OR '1'='1", 'BTCUSDT"; DROP TABLE precious; --', "BTCUSDT/**/", "BTCUSDT -- ", "$$", "$1", "?", "{}",
    '{"symbol": "BTCUSDT"}', "BTCUSDT\\'; DROP TABLE precious; --", "'); COPY precious TO '/tmp/stolen.csv'; --",
    "read_text('/etc/passwd')", "(SELECT secret FROM precious)", "secret", "precious", "now'; ATTACH 'x.db'; --",
]  # fmt: skip


@pytest.fixture
def con(exchange: Sandbox, tmp_path: Path) -> Iterator[DuckDBPyConnection]:
    with ckvd_sql.connect(**asking(exchange, tmp_path)) as con:
        con.execute("CREATE TABLE precious AS SELECT 'BTCUSDT' AS secret")
        yield con


def asking(exchange: Sandbox, tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {**exchange.settings, "cache_dir": tmp_path / "cache", "retries": 0, "timeout": 10, **more}


def data(exchange: Sandbox, tmp_path: Path, **more: Any) -> CryptoKlineVisionData:
    return CryptoKlineVisionData(**asking(exchange, tmp_path, **more))


def nothing_happened(exchange: Sandbox, tmp_path: Path) -> bool:
    """Whether nobody was asked and nothing was written."""
    return exchange.requests == () and list(tmp_path.iterdir()) == []


# Arguments.


@pytest.mark.parametrize("symbol", OUTSIDE, ids=ascii)
def test_a_symbol_that_is_no_symbol_is_refused_before_anything_is_asked_or_written(
    exchange: Sandbox, tmp_path: Path, con: DuckDBPyConnection, symbol: str
) -> None:
    client = data(exchange, tmp_path)
    for given in (symbol, ["BTCUSDT", symbol]):
        with pytest.raises(InvalidSymbolError):
            client.klines(given, *DAY)
        with pytest.raises(InvalidSymbolError):
            client.plan(given, *DAY)
        for name in ("ckvd_klines", "ckvd_plan", "ckvd_gaps"):
            with pytest.raises(duckdb.Error, match="InvalidSymbolError: "):
                con.execute(f"FROM {name}($symbol, '1h', '2024-05-01', '2024-05-02')", {"symbol": given})
    assert nothing_happened(exchange, tmp_path)


@pytest.mark.parametrize("symbol", [None, 5, 1.5, True, [], {}, [None], [["BTCUSDT"]], b"BTCUSDT"], ids=repr)
def test_a_symbol_of_another_type_is_refused(exchange: Sandbox, tmp_path: Path, symbol: Any) -> None:
    with pytest.raises(InvalidSymbolError):
        data(exchange, tmp_path).klines(symbol, *DAY)
    assert nothing_happened(exchange, tmp_path)


@pytest.mark.parametrize("text", [*OUTSIDE, *INJECTIONS], ids=ascii)
def test_nothing_but_an_interval_a_market_or_a_time_is_taken_for_one(
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
        data(exchange, tmp_path).klines("BTCUSDT", *DAY, text)
    assert nothing_happened(exchange, tmp_path)


def test_no_character_that_a_symbol_may_have_leaves_a_folder_a_path_or_a_url() -> None:
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


def test_a_strange_but_lawful_symbol_stays_in_its_folder_and_on_its_host(exchange: Sandbox, tmp_path: Path) -> None:
    strange = {"币安人生USDT", "\uff21", "⒈", "_", "__PYCACHE__", "CON", "²", "A" * 64}
    for symbol in strange:
        series = Series(Market.SPOT, parse_symbol(symbol), parse_interval("1h", Market.SPOT))
        path = (tmp_path / "cache" / series.key).resolve()
        assert path.relative_to(tmp_path / "cache").parts == ("binance", "spot", symbol, "1h")
        with pytest.raises(CkvdError):
            data(exchange, tmp_path).klines(symbol, *DAY)
    asked = [request.path.split("/") for request in exchange.requests if request.path.startswith("/data/")]
    assert {(parts[4], parts[5]) for parts in asked} == {("klines", symbol) for symbol in strange}
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]


# SQL.


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
    assert nothing_happened(exchange, tmp_path)


def test_the_text_that_duckdb_binds_has_no_argument_in_it(con: DuckDBPyConnection) -> None:
    con.execute("FROM ckvd_plan('BTCUSDT', '1h', '2024-05-01', '2024-05-02')")
    (function,) = con.execute(
        "SELECT DISTINCT function_name FROM duckdb_functions() WHERE function_name LIKE '%ckvd_bind%'"
    ).fetchall()
    given = {"symbol": "BTCUSDT", "interval": "1h", "start": "2024-05-01", "end": "2024-05-02"}
    for name in ("ckvd_klines", "ckvd_plan", "ckvd_gaps"):
        found = con.execute(f"SELECT {function[0]}($name, $given)", {"name": name, "given": json.dumps(given)})
        ((text,),) = found.fetchall()
        assert re.fullmatch(r'SELECT \* FROM "__duckdb_source_\w+"( AS "arrow_object_\w+")?', text), text
        assert "BTCUSDT" not in text
    definitions = con.execute(
        "SELECT macro_definition FROM duckdb_functions() WHERE function_name IN ('ckvd_klines', 'ckvd_symbols')"
    ).fetchall()
    assert all("to_json" in text and "||" not in text and "format" not in text for (text,) in definitions)


def test_looking_for_calls_in_a_statement_reads_no_file_and_runs_nothing(tmp_path: Path) -> None:
    secret = tmp_path / "secret.txt"
    secret.write_text("BTCUSDT")
    span = "'1h', '2024-05-01', '2024-05-02'"
    for argument in (f"(SELECT content FROM read_text('{secret}'))", f"(FROM '{secret}')", "getenv('HOME')", "x'; y"):
        assert find_queries(f"FROM ckvd_klines({argument}, {span})", 0) == []
    stolen = tmp_path / "stolen.csv"
    assert find_queries(f"COPY (FROM ckvd_klines('../X', {span})) TO '{stolen}'", 0) == []
    assert find_queries(f"FROM ckvd_klines('BTCUSDT', {span}); DROP TABLE precious", 0) == []
    assert [path.name for path in tmp_path.iterdir()] == ["secret.txt"]


# Settings.


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
def test_a_setting_that_makes_no_sense_is_refused_by_its_name(name: str, value: str) -> None:
    with pytest.raises(SettingsError) as refused:
        Settings.load(**{name: value})
    assert refused.value.setting == name


@pytest.mark.parametrize("name", ["vision_url", "spot_url"])
@pytest.mark.parametrize("url", ["http://xn--", "http://a..b", "http://[::1%25lo]:1", "http://a b"])
def test_a_host_that_no_resolver_takes_is_an_error_of_ours(
    exchange: Sandbox, tmp_path: Path, name: str, url: str
) -> None:
    exchange.add(Fault(".", "status", status=503))
    with pytest.raises(CkvdError):
        data(exchange, tmp_path, **{name: url}).klines("BTCUSDT", *DAY)


def test_no_host_name_makes_a_file_outside_the_cache(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    for url in ("http://..", "http://../../x", "http://%2e%2e%2fx", "http://a%2f..%2f..%2fx.invalid", "http://..%5cx"):
        with pytest.raises(CkvdError):
            data(exchange, tmp_path, spot_url=url).klines("BTCUSDT", *DAY)
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert {path.parent.name for path in tmp_path.rglob("weight-*")} <= {".rest"}


# Archives.


def zip_of_a_day(exchange: Sandbox) -> bytes:
    return httpx.get(exchange.url + ZIP).content


def read_zip(body: bytes) -> dict[date, pa.RecordBatch]:
    series = Series(Market.SPOT, "BTCUSDT", parse_interval("1h", Market.SPOT))
    return read_archive(body, series, date(2024, 5, 1), "http://127.0.0.1/x.zip")


@pytest.mark.parametrize("name", MEMBERS)
def test_a_zip_with_anything_but_its_one_file_is_refused_and_nothing_is_unpacked(
    exchange: Sandbox, tmp_path: Path, name: str
) -> None:
    with pytest.raises(MalformedDataError):
        read_zip(spoiled(zip_of_a_day(exchange), name))
    exchange.forget()
    exchange.add(Fault(ARCHIVE, "anomaly", name=name))
    found = data(exchange, tmp_path).klines("BTCUSDT", *DAY)
    assert set(found.column("source").to_pylist()) == {"rest"}
    assert [path.name for path in tmp_path.iterdir()] == ["cache"]
    assert not list(tmp_path.rglob("*.csv"))
    assert not Path("/tmp/BTCUSDT-1h-2024-05-01.csv").exists()  # noqa: S108 (what the archive asks for)


def test_a_zip_bomb_is_left_before_it_fills_the_memory(exchange: Sandbox) -> None:
    bomb = spoiled(zip_of_a_day(exchange), "zip bomb")
    assert len(bomb) < 200_000
    tracemalloc.start()
    try:
        with pytest.raises(MalformedDataError, match="unpacks to more than"):
            read_zip(bomb)
        _, most = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert most < 4_000_000  # of the 67 million bytes that it holds


@pytest.mark.parametrize("method", ["deflated", "bzip2", "lzma"])
@pytest.mark.parametrize("damage", ["middle", "end", "size", "encrypted", "method"])
def test_a_zip_that_lies_about_its_member_is_malformed(exchange: Sandbox, method: str, damage: str) -> None:
    compression = {"deflated": zipfile.ZIP_DEFLATED, "bzip2": zipfile.ZIP_BZIP2, "lzma": zipfile.ZIP_LZMA}[method]
    with zipfile.ZipFile(io.BytesIO(zip_of_a_day(exchange))) as archive:
        name = archive.namelist()[0]
        text = archive.read(name)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as made:
        made.writestr(name, text)
        start = made.getinfo(name).header_offset + 30 + len(name)
        size = made.getinfo(name).compress_size
    body = bytearray(buffer.getvalue())
    directory = body.rindex(b"PK\x01\x02")
    match damage:
        case "middle" | "end":
            at = start + (size // 2 if damage == "middle" else size - 12)
            body[at : at + 8] = bytes(byte ^ 0xFF for byte in body[at : at + 8])
        case "size":
            body[directory + 24 : directory + 28] = (10**9).to_bytes(4, "little")
            body[22:26] = (10**9).to_bytes(4, "little")
        case "encrypted":
            body[directory + 8] |= 1
            body[6] |= 1
        case _:
            body[directory + 10] = body[8] = 77
    if damage == "size":  # the bars are all there, and no more than they
        with contextlib.suppress(MalformedDataError):
            assert [bars.num_rows for bars in read_zip(bytes(body)).values()] == [24]
        return
    with pytest.raises(MalformedDataError):
        read_zip(bytes(body))


# Redirects.


@pytest.fixture(scope="module")
def elsewhere() -> Iterator[Sandbox]:
    """Another host: the same exchange on another port, called by other names of this machine."""
    with Sandbox(now="2024-06-15T12:00:30") as other:
        yield other


PLACES = {
    "another name": "http://localhost:{port}{path}",
    "another address": "http://127.0.0.2:{port}{path}",
    "another port": "http://127.0.0.1:{port}{path}",
    "without a scheme": "//localhost:{port}{path}",
    "in capitals": "HTTP://LOCALHOST:{port}{path}",
    "with a user": "http://127.0.0.1@localhost:{port}{path}",
    "with a backslash": "http://127.0.0.1\\@localhost:{port}{path}",
    "with backslashes": "\\\\localhost:{port}{path}",
    "with a space": " http://localhost:{port}{path}",
    "as IPv6": "http://[::ffff:127.0.0.1]:{port}{path}",
    "a short address": "http://127.1:{port}{path}",
    "a number": "http://2130706433:{port}{path}",
    "a file": "file:///etc/passwd",
    "another scheme": "ftp://localhost:{port}{path}",
}


@pytest.mark.parametrize("place", PLACES)
@pytest.mark.parametrize("part", [rf"{ARCHIVE}$", rf"{ARCHIVE}\.CHECKSUM$", REST], ids=["zip", "checksum", "REST"])
def test_a_redirect_to_another_host_is_refused_and_that_host_is_never_asked(
    exchange: Sandbox, elsewhere: Sandbox, tmp_path: Path, place: str, part: str
) -> None:
    elsewhere.forget()
    port = elsewhere.url.rpartition(":")[2]
    ending = ".CHECKSUM" if "CHECKSUM" in part else ""
    path = f"{ZIP}{ending}" if part != REST else "/api/v3/klines?symbol=BTCUSDT&interval=1h"
    exchange.add(Fault(part, "redirect", location=PLACES[place].format(port=port, path=path)))
    if part == REST:
        exchange.add(Fault(ARCHIVE, "status", status=404))
        with pytest.raises(ProviderUnavailableError):
            data(exchange, tmp_path).klines("BTCUSDT", *DAY)
    else:
        found = data(exchange, tmp_path).klines("BTCUSDT", *DAY)
        assert elsewhere.requests == ()
        assert (found.num_rows, set(found.column("source").to_pylist())) == (24, {"rest"})
    assert elsewhere.requests == ()


def test_the_old_header_that_also_redirects_does_not_lead_elsewhere_either(
    exchange: Sandbox, elsewhere: Sandbox, tmp_path: Path
) -> None:
    elsewhere.forget()
    place = PLACES["another name"].format(port=elsewhere.url.rpartition(":")[2], path=ZIP)
    exchange.add(Fault(rf"{ARCHIVE}$", "redirect", location="", headers={"URI": place}))
    data(exchange, tmp_path).klines("BTCUSDT", *DAY)
    assert elsewhere.requests == ()


def test_a_redirect_within_the_archives_host_is_followed(exchange: Sandbox, tmp_path: Path) -> None:
    exchange.add(Fault(rf"{ARCHIVE}$", "redirect", location="?mirrored", times=1))
    found = data(exchange, tmp_path).klines("BTCUSDT", *DAY)
    assert set(found.column("source").to_pylist()) == {"vision"}


# The sandbox.


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


# TLS.


def certificate(folder: Path, names: str) -> Path:
    """A certificate that nobody has signed but itself, its key in the same file."""
    if shutil.which("openssl") is None:
        pytest.skip("making a certificate takes the openssl command")
    made, key = folder / "certificate.pem", folder / "key.pem"
    command = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]
    command += ["-subj", "/CN=sandbox", "-addext", f"subjectAltName={names}", "-days", "2"]
    subprocess.run([*command, "-keyout", key, "-out", made], check=True, capture_output=True)
    return made


class Secure:
    """An HTTPS server on loopback that passes on what the sandbox answers, and takes note of what it was asked."""

    def __init__(self, exchange: Sandbox, folder: Path, names: str) -> None:
        self.requests: list[str] = []
        self.certificate = certificate(folder, names)
        secure = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                secure.requests.append(self.path)
                try:
                    with urllib.request.urlopen(exchange.url + self.path) as answer:
                        status, body = answer.status, answer.read()
                except urllib.error.HTTPError as error:
                    with error:
                        status, body = error.code, error.read()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: object) -> None:
                pass

        class Server(ThreadingHTTPServer):
            def handle_error(self, *_: object) -> None:
                pass

        self._server = Server(("127.0.0.1", 0), Handler)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(self.certificate, folder / "key.pem")
        self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True)
        self.url = f"https://127.0.0.1:{self._server.server_port}"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._thread.join()
        self._server.server_close()


@pytest.fixture
def secure(exchange: Sandbox, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Secure]:
    with Secure(exchange, tmp_path_factory.mktemp("tls"), "IP:127.0.0.1,DNS:localhost") as server:
        yield server


ASK = """
import json, sys
from ckvd_sql import CryptoKlineVisionData, CkvdError
try:
    found = CryptoKlineVisionData(**json.loads(sys.argv[1])).klines("BTCUSDT", "2024-05-01", "2024-05-02")
    print(*sorted(set(found.column("source").to_pylist())))
except CkvdError as error:
    print(type(error).__name__)
"""


def ask_with(environment: dict[str, str], settings: dict[str, Any]) -> str:
    """Where the day came from, or what it failed with, in a process with this environment."""
    text = json.dumps({name: str(value) for name, value in settings.items()})
    command = [sys.executable, "-c", ASK, text]
    done = subprocess.run(
        command, env={**os.environ, **environment}, capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_an_archive_whose_certificate_nobody_vouches_for_is_not_asked(
    exchange: Sandbox, tmp_path: Path, secure: Secure
) -> None:
    found = data(exchange, tmp_path, vision_url=secure.url).klines("BTCUSDT", *DAY)
    assert set(found.column("source").to_pylist()) == {"rest"}
    assert secure.requests == []


def test_a_rest_host_whose_certificate_nobody_vouches_for_is_not_asked(
    exchange: Sandbox, tmp_path: Path, secure: Secure
) -> None:
    exchange.add(Fault(ARCHIVE, "status", status=404))
    with pytest.raises(ProviderUnavailableError, match=r"(?i)certificate"):
        data(exchange, tmp_path, spot_url=secure.url).klines("BTCUSDT", *DAY)
    assert secure.requests == []


def test_a_certificate_that_the_machine_trusts_is_accepted(exchange: Sandbox, tmp_path: Path, secure: Secure) -> None:
    # So it is the verification that refuses the other ones.
    trust = {"SSL_CERT_FILE": str(secure.certificate)}
    both = {"vision_url": secure.url, "spot_url": secure.url}
    assert ask_with(trust, asking(exchange, tmp_path, **both)) == "vision"
    exchange.add(Fault(ARCHIVE, "status", status=404))
    assert ask_with(trust, asking(exchange, tmp_path, **both, cache_dir=tmp_path / "other")) == "rest"
    assert secure.requests


def test_a_trusted_certificate_of_another_host_is_refused(
    exchange: Sandbox, tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with Secure(exchange, tmp_path_factory.mktemp("tls"), "DNS:elsewhere.example") as secure:
        trust = {"SSL_CERT_FILE": str(secure.certificate)}
        both = {"vision_url": secure.url, "spot_url": secure.url}
        assert ask_with(trust, asking(exchange, tmp_path, **both)) == "ProviderUnavailableError"
        assert secure.requests == []


@pytest.mark.parametrize(
    "environment",
    [
        {"PYTHONHTTPSVERIFY": "0", "CURL_CA_BUNDLE": "", "REQUESTS_CA_BUNDLE": "", "CKVD_VERIFY": "0", "CKVD_SSL": "0"},
        {"FSSPEC_HTTPS": '{"ssl": false}', "FSSPEC_HTTP": '{"ssl": false}'},
        {"FSSPEC_CONFIG_DIR": "fsspec"},
    ],
    ids=["other tools'", "fsspec's environment", "fsspec's configuration"],
)
def test_verification_is_not_switched_off_by_what_is_meant_for_others(
    exchange: Sandbox, tmp_path: Path, secure: Secure, environment: dict[str, str]
) -> None:
    folder = tmp_path / "fsspec"
    folder.mkdir()
    (folder / "conf.json").write_text('{"https": {"ssl": false}, "http": {"ssl": false}}')
    if "FSSPEC_CONFIG_DIR" in environment:
        environment = {"FSSPEC_CONFIG_DIR": str(folder)}
    both = {"vision_url": secure.url, "spot_url": secure.url}
    assert ask_with(environment, asking(exchange, tmp_path, **both)) == "ProviderUnavailableError"
    assert secure.requests == []
